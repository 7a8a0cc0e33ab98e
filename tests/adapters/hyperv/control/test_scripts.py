"""Every script of the package keeps the rules of `adapters/hyperv/scripts/README.md`: nothing else here objects."""

from __future__ import annotations

import re
from base64 import b64encode

import pytest

from adapters.hyperv.control.scripts import bootstrap_line, load, names, parse

CALLS = re.compile(r"Invoke-CimMethod|Invoke-WmiMethod|\.InvokeMethod\(", re.IGNORECASE)
FORBIDDEN = re.compile(
    r"Invoke-Expression|\biex\b|Invoke-Command|Add-Type|Start-Process|ScriptBlock|::new\(|\bexit\b|\bclass\s|-Credential"
    r"|HOLDFAST-",
    re.IGNORECASE,
)
QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"`]|`.|\"\")*\"")


def faults(name: str, text: str) -> list[str]:
    """What is wrong with a script that stands in `name`.ps1."""
    found = []
    try:
        if parse(text).id != name:
            found.append("the id is not the file's name")
    except LookupError:
        return ["no header"]
    if not text.isascii() or "\r" in text:
        found.append("ASCII and LF only")
    code = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if not code or code[0] != "param($Arguments)":
        found.append("param($Arguments) comes first")
    body = "\n".join(code)
    if any("$" in quoted for quoted in QUOTED.findall(body) if quoted.startswith('"')):
        found.append("a variable in a double-quoted string")
    bare = QUOTED.sub("''", body)
    if FORBIDDEN.search(bare):
        found.append("a forbidden word")
    if len(CALLS.findall(bare)) > 1:
        found.append("more than one method call")
    for line in bare.splitlines():
        condition = re.search(r"-(Filter|Query)\b", line, re.IGNORECASE)
        if condition and re.search(r"\$Arguments", re.sub(r"\(ConvertTo-Wql \$Arguments[\w.]*\)", "", line)):
            found.append("an argument in a condition without ConvertTo-Wql")
    return found


@pytest.mark.parametrize("name", names())
def test_a_script_keeps_the_rules(name: str) -> None:
    """Header, ASCII, one method call, no code and no condition made of arguments."""
    assert faults(name, load(name).body) == []


HEAD = "# holdfast-script: probe\n# version: 1\n# effect: none\nparam($Arguments)\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("@{}\n", "no header"),
        (HEAD.replace("probe", "other") + "@{}\n", "the id is not the file's name"),
        (HEAD + "@{ name = 'Käse' }\n", "ASCII and LF only"),
        (HEAD.replace("param($Arguments)\n", "") + "@{}\n", "param($Arguments) comes first"),
        (HEAD + '@{ text = "machine $($Arguments.name)" }\n', "a variable in a double-quoted string"),
        (HEAD + "Invoke-Expression $Arguments.code\n", "a forbidden word"),
        (HEAD + "$a = Invoke-CimMethod $x\n$b = $y.InvokeMethod('Z')\n", "more than one method call"),
        (
            HEAD + "Get-CimInstance X -Filter ('Name = ' + $Arguments.id)\n",
            "an argument in a condition without ConvertTo-Wql",
        ),
    ],
)
def test_a_script_that_breaks_a_rule_is_found(text: str, fault: str) -> None:
    """The checker itself finds each fault that it looks for."""
    assert faults("probe", text) == [fault]


def test_words_in_plain_strings_are_no_faults() -> None:
    """A quoted word is data, and a quoted condition with a quoted value is what the rules ask for."""
    text = (
        HEAD + "@{ text = 'no iex, please'; x = Get-CimInstance X -Filter ('Y = ' + (ConvertTo-Wql $Arguments.y)) }\n"
    )
    assert faults("probe", text) == []


def test_the_bootstrap_fits_a_command_line() -> None:
    """cmd.exe takes 8,191 characters; the bootstrap is all that goes there, whatever a script's length."""
    assert len(b64encode(bootstrap_line().encode("utf-16-le"))) < 8000


@pytest.mark.parametrize("name", ["nothing-such", "../settings", "Bootstrap", ""])
def test_only_scripts_of_the_package_are_read(name: str) -> None:
    """An unknown name is an error here, before anything is sent; a name is no path."""
    with pytest.raises(LookupError):
        load(name)
