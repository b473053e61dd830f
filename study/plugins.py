"""Studies, trainables and more from outside: a file, a module, an entry point.

A study's own modules are imported under a private name, from the folder of its file or, in a worker and after a resume,
from the copy that its run keeps. So a user's ``study`` or ``analysis`` beside the file is theirs inside it, and ours
everywhere else.
"""

import ast
import builtins
import difflib
import hashlib
import importlib
import importlib.util
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from study.catalog import STUDIES
from study.resolved import Origin, ResolvedStudy
from study.spec import Study
from trainables.errors import InputError
from trainables.registry import TrainableSpec, named

SOURCE = "source"
"""Folder of a run directory with the copy of the study's own modules."""
GROUP = "lora_study.studies"


def known_studies() -> list[Study]:
    """Those of the catalogue and of the entry points.

    Raises:
        InputError: an entry point does not load.
    """
    return [*STUDIES.values(), *(_entry(entry)[0] for entry in entry_points(group=GROUP))]


def find_study(text: str) -> tuple[Study, Origin | None]:
    """A study by name, ``FILE.py[:name]`` or ``package.module[:name]``, and where it comes from.

    Raises:
        InputError: there is none, or more than one; its file does not import; its name is taken.
    """
    if text in STUDIES:
        return STUDIES[text], None
    for entry in entry_points(group=GROUP):
        if entry.name == text:
            return _entry(entry)
    where, _, name = text.rpartition(":") if ":" in text else (text, "", "")
    if where.endswith(".py"):
        path = Path(where).expanduser().absolute()
        if not path.is_file():
            raise InputError(f"study {text!r}: there is no file {where}")
        return _from_module(path.parent, path.stem, name, text)
    if "." in where or name:
        return _from_module(_folder_of(where, text), where, name, text)
    names = [*STUDIES, *(entry.name for entry in entry_points(group=GROUP))]
    near = difflib.get_close_matches(text, names, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise InputError(f"study {text!r}: unknown{hint}; allowed: {', '.join(names)}, FILE.py[:name], package.module:name")


def trainable_of(study: ResolvedStudy, run_dir: Path) -> TrainableSpec:
    """What a run trains, wherever its process runs: from the run's copy where it came from outside."""
    if study.origin is None:
        return named(study.trainable)
    return _loaded(run_dir / SOURCE, study.origin.module, study.origin.name, study.origin.folder).trainable


def keep_source(origin: Origin | None, run_dir: Path) -> None:
    """Copy the study's own modules into a run directory."""
    for name in origin.files if origin else ():
        target = run_dir / SOURCE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(origin.folder) / name, target)  # type: ignore[union-attr]


def files_hash(folder: Path, files: Sequence[str]) -> str | None:
    """SHA-256 over names and contents of a study's own modules; None where one is not there."""
    if not all((folder / file).is_file() for file in files):
        return None
    digest = hashlib.sha256(b"".join(file.encode() + b"\0" + (folder / file).read_bytes() for file in files))
    return digest.hexdigest()


def _entry(entry: Any) -> tuple[Study, Origin]:
    module, _, name = entry.value.partition(":")
    try:
        return _from_module(_folder_of(module, entry.name), module, name, f"entry point {entry.name}")
    except InputError as error:
        raise InputError(f"entry point {entry.name} = {entry.value}: {error}") from error


def _folder_of(module: str, text: str) -> Path:
    """The folder that holds the top of a dotted name: the current one first, then those of ``sys.path``."""
    head, *rest = module.split(".")
    for folder in (Path.cwd(), *map(Path, sys.path)):
        path = folder.joinpath(head, *rest)
        if path.with_suffix(".py").is_file() or (path / "__init__.py").is_file():
            return folder.absolute()
    raise InputError(f"study {text!r}: there is no module {module}")


def _from_module(folder: Path, module: str, name: str, text: str) -> tuple[Study, Origin]:
    files = tuple(path.relative_to(folder).as_posix() for path in _own_files(folder, module))
    study = _loaded(folder, module, name, str(folder), text)
    if study.name in STUDIES:
        raise InputError(f"study {text!r}: the name {study.name!r} is taken by a study that comes with the project")
    return study, Origin(
        folder=str(folder), module=module, name=study.name, files=files, source_hash=files_hash(folder, files) or "",
        cwd=str(Path.cwd()),
    )  # fmt: skip


def _loaded(folder: Path, module: str, name: str, original: str, text: str = "") -> Study:
    """A module's study whose variable or ``name`` field is ``name``; without one the only study, or its namesake."""
    content = vars(_import(folder, module, original, text or module))
    studies = {key: value for key, value in content.items() if isinstance(value, Study)}
    distinct = list({id(study): study for study in studies.values()}.values())
    chosen = [studies[name]] if name in studies else [study for study in distinct if not name or study.name == name]
    if not name and len(chosen) > 1:  # that of the file's own name
        chosen = [study for study in chosen if study.name == module.rpartition(".")[2]] or chosen
    if len(chosen) == 1:
        return chosen[0]
    names = ", ".join(study.name for study in distinct)
    if not distinct:
        raise InputError(f"study {text or module!r}: it defines no study; a lora_study.Study(...) is expected")
    if name:
        raise InputError(f"study {text or module!r}: it has no study {name!r}; allowed: {names}")
    raise InputError(f"study {text or module!r}: it defines {len(distinct)} studies; say which with :NAME ({names})")


def _own_files(folder: Path, module: str) -> list[Path]:
    """The files of a module and of everything beside it that it imports, sorted."""
    inside = "site-packages" in folder.parts
    head = module.partition(".")[0]
    waiting, heads, found = [head], {head}, set()
    while waiting:
        files = _files_of(folder, waiting.pop())
        found |= set(files)
        new = {name for path in files for name in _imported(path)} - heads
        own = {name for name in new if not inside and _files_of(folder, name)}
        heads |= own
        waiting += own
    return sorted(found)


def _files_of(folder: Path, head: str) -> list[Path]:
    """A module's file, or all those of a package; none where there is neither."""
    if (folder / head).is_dir() and any((folder / head).glob("*.py")):
        return sorted((folder / head).rglob("*.py"))
    return [folder / f"{head}.py"] if (folder / f"{head}.py").is_file() else []


def _imported(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # shown when it is imported
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@cache
def _import(folder: Path, module: str, original: str, text: str) -> ModuleType:
    prefix = f"_lora_study_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    if prefix not in sys.modules:
        package = ModuleType(prefix)
        package.__path__ = [str(folder)]
        sys.modules[prefix] = package
        heads = {path.relative_to(folder).parts[0].removesuffix(".py") for path in _own_files(folder, module)}
        sys.meta_path.insert(0, _Finder(prefix, heads, folder, Path(original)))
    finder = next(finder for finder in sys.meta_path if isinstance(finder, _Finder) and finder.prefix == prefix)
    finder.heads |= {path.relative_to(folder).parts[0].removesuffix(".py") for path in _own_files(folder, module)}
    try:
        return importlib.import_module(f"{prefix}.{module}")
    except (Exception, SystemExit) as error:
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(str(folder))]
        print("".join(traceback.format_list(own)).rstrip(), file=sys.stderr)
        raise InputError(f"study {text!r}: it does not import ({type(error).__name__}: {_reason(error)})") from error


def _reason(error: BaseException) -> str:
    """In one line: of what is wrong in a study's fields, the first."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip()
    return (str(error).strip().splitlines() or [""])[0]


@dataclass
class _Finder(MetaPathFinder):
    """Finds a study's own modules under their private name."""

    prefix: str
    heads: set[str]
    folder: Path
    original: Path

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:  # fmt: skip
        if not name.startswith(f"{self.prefix}."):
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path, self)
        return spec


class _Loader(SourceFileLoader):
    """Runs a module with an ``import`` that takes the names beside it from beside it."""

    def __init__(self, name: str, path: str, finder: _Finder) -> None:
        super().__init__(name, path)
        self.finder = finder

    def exec_module(self, module: ModuleType) -> None:
        where = Path(self.path)
        if where.is_relative_to(self.finder.folder):  # where data beside the file are, also when the copy is run
            module.__file__ = str(self.finder.original / where.relative_to(self.finder.folder))
        module.__dict__["__builtins__"] = vars(builtins) | {"__import__": self._import}
        super().exec_module(module)

    def _import(
        self, name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> ModuleType:  # fmt: skip
        head = name.partition(".")[0]
        if level or head not in self.finder.heads:
            return builtins.__import__(name, globals, locals, fromlist, level)
        found = builtins.__import__(f"{self.finder.prefix}.{name}", globals, locals, fromlist, 0)
        return found if fromlist else getattr(found, head)
