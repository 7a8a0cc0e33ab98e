-- Statements that never end, and some that do not hear when they are told to.
limited SELECT count(*) FROM range(1000000000000) t(i) WHERE i % 7 = 3
limited SELECT sum(a.i * b.i) FROM range(10000000) a(i), range(10000000) b(i)
limited WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT max(i) FROM r
limited SELECT levenshtein(repeat('a', 200000), repeat('b', 200000))
limited SELECT damerau_levenshtein(repeat('a', 60000), repeat('b', 60000))
limited SELECT list_reduce(range(100000000), (a, b) -> a + b)
limited SELECT regexp_replace(repeat('a', 20000000), '(a*)*b', 'x', 'g') FROM range(100)
limited SELECT jaro_winkler_similarity(repeat('a', 300000) || range::VARCHAR, repeat('ab', 150000)) FROM range(100000)
limited SELECT count(*) FROM range(1000000) a(i) JOIN range(1000000) b(i) ON a.i <> b.i AND a.i + b.i > 5
limited SELECT count(DISTINCT md5(i::VARCHAR)) FROM range(1000000000) t(i)
limited SELECT bit_count(sum(hash(i))::BIT) FROM range(100000000000) t(i)
limited SELECT list_sum(list_transform(range(30000000), x -> list_sum(range(x % 1000)))) FROM range(100)
limited SELECT max(sha256(repeat('x', 10000000) || range::VARCHAR)) FROM range(100000)
limited SELECT sum(length(printf('%1000000d', i))) FROM range(10000000) t(i)
limited SELECT i FROM range(100000000000) t(i) ORDER BY sin(i) LIMIT 1
limited SELECT 9999999999::HUGEINT % i FROM range(1, 100000000000) t(i) WHERE i < 0
