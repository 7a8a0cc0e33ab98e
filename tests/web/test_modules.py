"""The page's own arithmetic against ours: Merkle proofs, leaves, notes, msgpack, and words for shells."""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from catalog.log.chain import leaf_of
from catalog.merkle import leaf_hash, merkle_root

NAMESPACE = UUID(int=5)


def call(page: Page, module: str, code: str, value: Any = None) -> Any:
    """Run code of the page with a module as `m` and a value as `v`."""
    return page.evaluate(f"async (v) => {{ const m = await import('/assets/js/{module}.js'); {code} }}", value)


def path_of(index: int, leaves: list[bytes]) -> list[bytes]:
    """The inclusion path by RFC 6962's own recursion."""
    if len(leaves) == 1:
        return []
    middle = 1 << ((len(leaves) - 1).bit_length() - 1)
    left, right = leaves[:middle], leaves[middle:]
    if index < middle:
        return [*path_of(index, left), merkle_root(right)]
    return [*path_of(index - middle, right), merkle_root(left)]


def test_roots_are_those_of_the_tree(page: Page) -> None:
    """For every entry of every tree up to 33, the path gives the root; cut, lengthened or misplaced it never does."""
    expect(page.get_by_role("grid")).to_be_visible()
    cases = []
    for size in range(1, 34):
        leaves = [leaf_hash(bytes([number])) for number in range(size)]
        for index in range(size):
            path = [node.hex() for node in path_of(index, leaves)]
            cases.append([leaves[index].hex(), index, size, path, merkle_root(leaves).hex()])
    wrong = call(
        page,
        "merkle",
        """const wrong = [];
        const root = async (leaf, index, size, path) => {
          const found = await m.rootOf(m.fromHex(leaf), index, size, path.map(m.fromHex));
          return found && m.toHex(found);
        };
        for (const [leaf, index, size, path, wanted] of v) {
          if (await root(leaf, index, size, path) !== wanted) wrong.push(['good', index, size]);
          const bad = [[leaf, index, size, path.slice(1)], [leaf, index, size, [...path, leaf]],
            [leaf, (index + 1) % size, size, path], [leaf, index, size + 64, path], [wanted, index, size, path]];
          for (const one of bad) if (one.join() !== [leaf, index, size, path].join() && await root(...one) === wanted)
            wrong.push(['bad', ...one.slice(1, 3)]);
        }
        return wrong;""",
        cases,
    )
    assert wrong == []


def test_leaves_are_those_of_the_log(page: Page) -> None:
    """The leaf of stream, version, topic and state is the one in the hash chain."""
    expect(page.get_by_role("grid")).to_be_visible()
    for number, topic in enumerate(("PackSealed/1", "Größe/2", "")):
        stream, state = uuid5(NAMESPACE, topic), bytes(range(number, 200))
        version = [1, 2**31 + 5, 2**53 - 1][number]
        found = call(
            page,
            "merkle",
            """return m.toHex(await m.leafOf({stream: m.fromHex(v[0]), version: v[1], topic: v[2],
               state: m.fromHex(v[3])}));""",
            [stream.hex, version, topic, state.hex()],
        )
        assert found == leaf_of(stream, version, topic, state).hex()


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=40) | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=8), inner, max_size=20),
    max_leaves=30,
)


def plain(value: Any) -> Any:
    """As the page gives it: integers that it cannot hold become text."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int) and abs(value) >= 2**53:
        return str(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_msgpack_is_read_as_it_was_written(page: Page, value: Any) -> None:
    """What msgspec writes, the page reads."""
    text = base64.b64encode(msgspec.msgpack.encode(value)).decode()
    code = "const {fromBase64} = await import('/assets/js/merkle.js'); return m.unpack(fromBase64(v));"
    assert call(page, "msgpack", code, text) == plain(value)


def test_times_and_bytes_in_events_are_read(page: Page) -> None:
    """Times keep their microseconds, bytes become hex digits, and what is cut short is refused."""
    expect(page.get_by_role("grid")).to_be_visible()
    at = datetime(2026, 11, 23, 5, 36, 31, 711976, UTC)
    event = {"recorded_at": at, "whole": at.replace(microsecond=0), "digest": bytes(range(40)), "far": at.replace(2600)}
    data = msgspec.msgpack.encode(event)
    code = "const {fromHex} = await import('/assets/js/merkle.js'); return m.unpack(fromHex(v));"
    assert call(page, "msgpack", code, data.hex()) == {
        "recorded_at": "2026-11-23T05:36:31.711976Z",
        "whole": "2026-11-23T05:36:31Z",
        "digest": bytes(range(40)).hex(),
        "far": "2600-11-23T05:36:31.711976Z",
    }
    assert call(page, "msgpack", code.replace("return", "try { return") + " } catch { return 'refused'; }", "a5") == (
        "refused"
    )


def test_words_for_shells_mean_what_they_say(page: Page) -> None:
    """A copied word, given to bash, is the text; and nothing in it acts on the terminal that it is pasted into."""
    expect(page.get_by_role("grid")).to_be_visible()
    for text in ("web", "it's", '$(id) `id` "', "a\nb\x1b[201~c", "\u202egpj\\'x", "-rf *", ""):
        word = call(page, "text", "return m.shellWord(v);", text)
        said = subprocess.run(
            ["bash", "-c", f"printf %s {word}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
        )
        assert said.stdout.decode() == text
        assert word.isprintable()


def test_unseen_characters_are_spelled_out(page: Page) -> None:
    """Controls, changes of direction and zero widths are shown by their code points; letters of all scripts stay."""
    expect(page.get_by_role("grid")).to_be_visible()
    for hidden in (
        "\x00",
        "\x1b",
        "\x7f",
        "\x9b",
        "\u00ad",
        "\u061c",
        "\u200b",
        "\u202e",
        "\u2066",
        "\ufeff",
        "\U000e0041",
    ):
        assert call(page, "text", "return m.shown(v);", hidden) == f"\u27e8U+{ord(hidden):04X}\u27e9"
    for kept in ("web-01", "Größe", "שרת", "サーバー", "a b"):
        assert call(page, "text", "return m.shown(v);", kept) == kept
