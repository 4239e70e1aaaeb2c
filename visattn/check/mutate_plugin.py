"""What `visattn mutate` loads into pytest: one module gets another source, and what the tests did is written down.

VISATTN_ORDER names a JSON file, an order:

    sources   {module: the source that is run when that module is first imported}; the files stay as they are
    watch     prefixes of modules in which it is recorded which functions were called; [] outside the baseline
    tests     the node ids to run, in this order; null is all
    files     the files that these are in; null is all
    without   node ids to leave out
    share     [i, n]: of the files, every n-th from the i-th on; absent is all
    report    the file to write

Of visattn it imports nothing that a test might, so that whatever the tests import is imported by them.  In a server
(see processes) the order comes when pytest has loaded its plugins, and nothing of the suite.
"""

import ast
import json
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from visattn.check.processes import ORDER, loaded, serve

SAYS = "_visattn_was_called"            # in a watched module, the function that every function of it calls first


class Loader(SourceFileLoader):
    """A module's own file, or the source given instead of it; watched or not; no bytecode is kept of either."""

    def __init__(self, name: str, path: str, source: str | None, says: Any) -> None:
        super().__init__(name, path)
        self.source, self.says = source, says

    def get_code(self, fullname: str) -> CodeType:
        text = self.source if self.source is not None else Path(self.path).read_text(encoding="utf-8")
        tree = ast.parse(text, self.path)
        if self.says:
            watched(tree, fullname)
        return compile(tree, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: Any) -> None:
        if self.says:
            setattr(module, SAYS, self.says)
            self.says(f"{self.name}:")
        super().exec_module(module)


class Finder(MetaPathFinder):
    """Finds where every module is, and says how those of an order are loaded."""

    def __init__(self, sources: dict[str, str], watch: tuple[str, ...], says: Any) -> None:
        self.sources, self.watch, self.says = sources, watch, says

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname not in self.sources and not fullname.startswith(self.watch):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(fullname, spec.loader.path, self.sources.get(fullname),
                                 self.says if fullname.startswith(self.watch) else None)
        return spec


def watched(tree: ast.Module, module: str) -> None:
    """Every function says "module:name" when it is called; what is inside a class or a function has its name."""
    for node in tree.body:
        for function in ast.walk(node):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                name = getattr(node, "name", "")
                says = ast.parse(f"{SAYS}({f'{module}:{name}'!r})").body[0]
                for part in ast.walk(says):
                    ast.copy_location(part, function.body[0])
                function.body.insert(1 if ast.get_docstring(function, clean=False) is not None else 0, says)


class Plugin:
    """Chooses the tests, and writes the report: when it begins, at the first failure, and at the end."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.windows: list[set[str]] = []
        self.always: set[str] = set()                           # called before any test was collected
        self.collected: dict[str, set[str]] = {}                # called while a file was collected
        self.fixtures: dict[str, set[str]] = {}                 # called while a fixture was made
        self.tests: dict[str, dict[str, Any]] = {}
        self.failure: dict[str, str] | None = None
        self.files = None if order["files"] is None else set(order["files"])
        self.windows.append(self.always)
        self.finder = Finder(order["sources"], tuple(order["watch"]), self.says)
        for name in sys.modules:
            if name in order["sources"] or (order["watch"] and name.startswith(tuple(order["watch"]))):
                raise RuntimeError(f"{name} is imported already: nothing can be changed in it")
        sys.meta_path.insert(0, self.finder)

    def says(self, what: str) -> None:
        for window in self.windows:
            window.add(what)

    def window(self, called: set[str]) -> Any:
        self.windows.append(called)
        try:
            return (yield)
        finally:
            self.windows.pop()

    # How pytest runs: https://docs.pytest.org/en/stable/reference/reference.html#hooks

    def pytest_configure(self, config: Any) -> None:
        if self.files is not None:                              # no other folder is looked through
            config.args = sorted(self.files)
        self.write()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        self.windows.clear()

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        if self.files is None or collection_path.name == "__init__.py" or not collection_path.is_file():
            return None
        return True if str(collection_path) not in self.files else None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: Any, items: list[Any]) -> None:
        i, shares = self.order.get("share", (0, 1))
        files = {path: at for at, path in enumerate(dict.fromkeys(item.path for item in items))}
        config.hook.pytest_deselected(items=[item for item in items if files[item.path] % shares != i])
        items[:] = [item for item in items if files[item.path] % shares == i]
        for item in items:
            self.tests[item.nodeid] = {
                "file": str(item.path), "fixtures": list(getattr(item, "fixturenames", ())), "seconds": 0.0,
                "called": set()}
        tests, without = self.order["tests"], set(self.order["without"])
        rank = None if tests is None else {nodeid: i for i, nodeid in enumerate(tests)}
        chosen = [i for i in items if (rank is None or i.nodeid in rank) and i.nodeid not in without]
        if rank is not None:
            chosen.sort(key=lambda item: rank[item.nodeid])
        config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
        items[:] = chosen

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.nodeid in self.tests:
            self.tests[report.nodeid]["seconds"] += report.duration
        if report.failed:
            self.fail(report)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.fail(report)

    def fail(self, report: Any) -> None:
        if self.failure is None:
            crash = getattr(report.longrepr, "reprcrash", None)
            said = (crash.message if crash is not None else str(report.longrepr)).strip()
            lines = [line.strip() for line in said.splitlines() if line.strip()] or [""]
            why = lines[-1] if crash is None else " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
            self.failure = {"by": report.nodeid, "why": why[:300]}
            self.write()

    def pytest_unconfigure(self) -> None:
        self.write(done=True)

    def write(self, done: bool = False) -> None:
        tests = {}
        if done and self.order["watch"]:
            for nodeid, test in self.tests.items():
                called = test["called"] | self.always | self.collected.get(test["file"], set())
                for name in test["fixtures"]:
                    called |= self.fixtures.get(name, set())
                tests[nodeid] = {"file": test["file"], "seconds": test["seconds"], "called": sorted(called)}
        report = {"failure": self.failure, "tests": tests, "loaded": loaded(), "done": done}
        path = Path(self.order["report"])
        path.with_suffix(".new").write_text(json.dumps(report), encoding="utf-8")
        path.with_suffix(".new").replace(path)


class Watcher(Plugin):
    """The baseline's: also which functions each test calls, itself and through its file and its fixtures."""

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: Any) -> Any:
        return (yield from self.window(self.collected.setdefault(str(collector.path), set())))

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Any:
        return (yield from self.window(self.fixtures.setdefault(fixturedef.argname, set())))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Any:
        return (yield from self.window(self.tests[item.nodeid]["called"]))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: Any) -> Any:
    """Plugins are loaded, nothing of the suite is, and output is not captured yet."""
    serve()
    order = json.loads(Path(os.environ[ORDER]).read_text(encoding="utf-8"))
    early_config.pluginmanager.register((Watcher if order["watch"] else Plugin)(order), "visattn-mutate")
    return (yield)
