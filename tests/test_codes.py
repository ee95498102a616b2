"""The table of codes, its pages in docs/codes, and the calls that make findings: held equal here."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import pytest

from bitmapmig import codes
from bitmapmig.diagnostics import CannotRunError, Code, Severity
from bitmapmig.policy.read import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROJECT = Path(__file__).parent.parent
_PAGES = _PROJECT / "docs" / "codes"
_TABLE = Path(codes.__file__).read_text()
_SECTIONS = ("What was found", "What QEMU would do", "Example", "Remedy")

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

every_code = pytest.mark.parametrize("code", codes.ALL, ids=lambda code: code.code)


# the table


def test_numbers_are_unique_and_ascend() -> None:
    """The lines of the table stand in the order of their numbers, none twice."""
    numbers = [code.code for code in codes.ALL]
    assert sorted(set(numbers)) == numbers


def test_names_are_unique() -> None:
    """No two codes have one name."""
    assert len({code.name for code in codes.ALL}) == len(codes.ALL)


@every_code
def test_form_of_a_code(code: Code) -> None:
    """A code is BM with three digits, its name is in kebab-case, and its texts end without a full stop."""
    assert re.fullmatch(r"BM\d{3}", code.code)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code.name)
    assert not code.message.endswith(".")
    assert not code.remedy.endswith(".")


def test_first_digit_is_the_stage() -> None:
    """Each line stands under the heading of its first digit, and the docstring lists those headings."""
    stages: dict[str, str] = {}
    for line in _TABLE.splitlines():
        if heading := re.fullmatch(r"# (\d): (.+)", line):
            stages[heading[1]] = heading[2]
        elif entry := re.match(r'[A-Z_]+ = Code\("BM(\d)', line):
            assert entry[1] == list(stages)[-1], line
    assert " · ".join(f"{digit} {stage}" for digit, stage in stages.items()) in (codes.__doc__ or "")


def test_only_refusals_can_be_accepted() -> None:
    """An error leaves nothing to accept, and advice does not refuse."""
    assert {codes.BY_CODE[code].severity for code in codes.ACCEPTABLE} == {Severity.REFUSAL}


# the calls


class _Call(NamedTuple):
    """One call that makes a finding of `code`, and the names of its facts."""

    place: str
    code: str
    facts: frozenset[str]


class _Module:
    """One source file: which findings it makes.

    A finding is made by `codes.X.at(...)`; by calling a function that has a parameter `code` and makes it with that; or
    by `code.at(...)` with one of the codes that the module mentions in neither way.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tree = ast.parse(path.read_text())
        self._functions = [node for node in ast.walk(self._tree) if isinstance(node, _Function)]
        self._makers = {
            function.name: self._explicit(call)
            for function in self._functions
            if "code" in {argument.arg for argument in function.args.args}
            for call in self._calls(function)
            if _is_at(call) and function.args.kwarg
        }

    def findings(self) -> Iterator[_Call]:
        """Every call that makes a finding."""
        direct = [self._direct(call, function) for function in self._functions for call in self._calls(function)]
        made = [one for one in direct if one is not None]
        yield from made
        mentioned = {name for node in ast.walk(self._tree) if (name := _code(node))}
        left = sorted(mentioned - {one.code for one in made})
        for function in self._functions:
            for call in self._calls(function):
                if _is_at(call) and not _code(_receiver(call)) and function.name not in self._makers:
                    assert left, f"no code is left for the call in {self._place(call)}"
                    facts = self._facts(call, function)
                    yield from (_Call(self._place(call), code, facts) for code in left)

    def _direct(self, call: ast.Call, function: _Function) -> _Call | None:
        if _is_at(call) and (code := _code(_receiver(call))):
            return _Call(self._place(call), code, self._facts(call, function))
        if isinstance(call.func, ast.Name) and call.func.id in self._makers:
            passed = [code for argument in call.args if (code := _code(argument))]
            if passed:
                return _Call(self._place(call), passed[0], self._makers[call.func.id] | self._facts(call, function))
        return None

    @staticmethod
    def _calls(function: _Function) -> list[ast.Call]:
        return [node for node in ast.walk(function) if isinstance(node, ast.Call)]

    @staticmethod
    def _explicit(call: ast.Call) -> frozenset[str]:
        return frozenset(keyword.arg for keyword in call.keywords if keyword.arg)

    def _facts(self, call: ast.Call, function: _Function) -> frozenset[str]:
        """The keywords of a call, those of its `**` arguments among them."""
        facts = set(self._explicit(call))
        for keyword in call.keywords:
            if keyword.arg is None:
                facts |= self._members(keyword.value, function)
        return frozenset(facts)

    def _members(self, value: ast.expr, function: _Function) -> set[str]:
        """The keys of a dict that is written out: here, where a name was given to it, or in a function."""
        if isinstance(value, ast.Dict):
            return {str(key.value) for key in value.keys if isinstance(key, ast.Constant)}
        if isinstance(value, ast.Name):
            given = [node for node in ast.walk(function) if isinstance(node, ast.Assign | ast.AnnAssign)]
            for node in given:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                named = any(isinstance(target, ast.Name) and target.id == value.id for target in targets)
                if named and node.value:
                    return self._members(node.value, function)
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
            return _RETURNED[value.func.id]
        pytest.fail(f"{self._place(value)}: the facts cannot be followed")

    def _place(self, node: ast.expr) -> str:
        return f"{self._path.relative_to(_PROJECT)}:{node.lineno}"


def _is_at(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "at"


def _receiver(call: ast.Call) -> ast.expr | None:
    return call.func.value if isinstance(call.func, ast.Attribute) else None


def _code(node: ast.AST | None) -> str | None:
    """The name of the code where `node` is `codes.NAME`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "codes":
        return node.attr if isinstance(getattr(codes, node.attr), Code) else None
    return None


def _returned(path: Path) -> Iterator[tuple[str, set[str]]]:
    """The keys of the dict that each function of a file returns, where it does nothing but that."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, _Function) and isinstance(node.body[-1], ast.Return):
            value = node.body[-1].value
            if isinstance(value, ast.Dict):
                yield node.name, {str(key.value) for key in value.keys if isinstance(key, ast.Constant)}


_FILES = sorted(path for path in (_PROJECT / "bitmapmig").rglob("*.py") if path.name != "codes.py")
_RETURNED = {name: keys for path in _FILES for name, keys in _returned(path)}


def _fields(template: str) -> set[str]:
    return {field for _, field, _, _ in Formatter().parse(template) if field is not None}


@pytest.fixture(scope="module")
def calls() -> tuple[_Call, ...]:
    """Every call of the package that makes a finding."""
    return tuple(call for path in _FILES for call in _Module(path).findings())


def test_every_code_is_found_somewhere(calls: tuple[_Call, ...]) -> None:
    """The table has no line that nothing uses."""
    assert {getattr(codes, call.code).code for call in calls} == set(codes.BY_CODE)


def test_templates_fit_the_facts(calls: tuple[_Call, ...]) -> None:
    """What a message or a remedy speaks of is among the facts of every call that makes the finding."""
    missing = {
        call.place: fields
        for call in calls
        if (fields := _fields(getattr(codes, call.code).message + getattr(codes, call.code).remedy) - call.facts)
    }
    assert missing == {}


def test_fields_are_plain_names() -> None:
    """A field of a template is the name of a fact and nothing computed from it."""
    assert all(field.isidentifier() for code in codes.ALL for field in _fields(code.message + code.remedy))


# the pages


def _page(code: Code) -> str:
    return (_PROJECT / code.documentation).read_text()


def _section(code: Code, title: str) -> str:
    return re.split(r"^## .+\n", _page(code), flags=re.MULTILINE)[1 + _SECTIONS.index(title)]


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    """docs/codes holds one page for each line of the table, and nothing else."""
    assert sorted(path.name for path in _PAGES.iterdir()) == [f"{code.code}.md" for code in codes.ALL]


@every_code
def test_title_and_sections(code: Code) -> None:
    """A page has the code and its name as title, and the four sections in their order; it is short."""
    page = _page(code)
    assert re.findall(r"^#+ .+", page, re.MULTILINE) == [f"# {code.code} {code.name}", *(f"## {s}" for s in _SECTIONS)]
    assert 15 <= page.count("\n") <= 45


#: The errors that do not end with exit code 2.
_EXITS = {codes.LOCK_HELD.code: 6, codes.APPLY_INTERRUPTED.code: 130}
#: Advice that no `--strict` makes more of.
_ADVICE = {codes.REHEARSED_ON_ANOTHER.code: "Advice: it does not make a rehearsal fail."}


@every_code
def test_kind_is_said_first(code: Code) -> None:
    """The line below the title says what the finding does, and whether a policy can accept it."""
    kinds = {
        Severity.ERROR: f"Error: the command could not run, exit code {_EXITS.get(code.code, 2)}.",
        Severity.STALE: "Stale plan, exit code 4.",
        Severity.FAILURE: "Failure: what was planned did not arrive, exit code 5.",
        Severity.ADVICE: _ADVICE.get(code.code)
        or {
            "8": "Advice: it does not fail a verification; with `--strict` what is not proven does, exit code 5.",
            "9": "Advice: it does not stop the command.",
        }.get(code.code[2], "Advice: it does not stop a plan; with `--strict` it is a refusal, exit code 3."),
        Severity.REFUSAL: f"Refusal, exit code 3. Acceptable by policy: `accept: [{code.code}]`; "
        "the plan then has no guarantee."
        if code.acceptable
        else "Refusal, exit code 3. Not acceptable by policy.",
    }
    assert _page(code).split("\n\n")[1] == kinds[code.severity]


@every_code
def test_no_page_accepts_what_cannot_be_accepted(code: Code) -> None:
    """Outside of an example of the mistake, `accept` names codes that can be accepted."""
    said = re.findall(r"accept: \[(\w+)\]", _page(code).replace(_section(code, "Example"), ""))
    assert set(said) <= set(codes.ACCEPTABLE)


def test_page_of_accept_lists_what_can_be_accepted() -> None:
    """The page about a wrong `accept` ends with the codes that may stand there."""
    last = _section(codes.POLICY_ACCEPT, "Remedy").rsplit("\n- ", 1)[1]
    assert re.findall(r"BM\d{3}", last) == list(codes.ACCEPTABLE)


@every_code
def test_example_is_what_the_tool_prints(code: Code) -> None:
    """The example shows the finding as text output has it: a title, and a message that the template can make."""
    shown = [block for block in _blocks(_section(code, "Example"), "text") if block.startswith("BM")]
    title, message = shown[0].split("\n", 1)
    assert (len(shown), title) == (1, f"{code.code} {code.name}")
    parts = [
        re.escape(literal) + (".*" if field is not None else "")
        for literal, field, _, _ in Formatter().parse(code.message)
    ]
    assert re.fullmatch(f"(.+: )?{''.join(parts)}", " ".join(message.split()))


@every_code
def test_policies_of_the_remedy_are_policies(code: Code) -> None:
    """Every YAML block of a remedy can be pasted into a policy file."""
    for block in _blocks(_section(code, "Remedy"), "yaml"):
        parse(block.encode(), "policy.yaml", "yaml")


@every_code
def test_commands_are_json(code: Code) -> None:
    """Every JSON block is a QMP command, or several one after the other, and nothing else."""
    inline = re.findall(r'`(\{"execute".*?\})`', _page(code))
    for block in [*_blocks(_page(code), "json"), *inline]:
        text = block.strip()
        while text:
            command, end = json.JSONDecoder().raw_decode(text)
            assert set(command) <= {"execute", "arguments"}
            assert isinstance(command["execute"], str)
            text = text[end:].strip()


@pytest.mark.parametrize("number", ["BM402", "BM403", "BM404", "BM405", "BM406", "BM407"])
def test_mistakes_of_a_policy_are_found(number: str) -> None:
    """The policy that an example shows has the very mistake that the page is about, and no other."""
    code = codes.BY_CODE[number]
    (block,) = _blocks(_section(code, "Example"), "yaml")
    with pytest.raises(CannotRunError) as raised:
        parse(block.encode(), "policy.yaml", "yaml")
    assert {found.code for found in raised.value.diagnostics} == {number}
