"""A folder of files of one kind as a mapping from their names.

Knows names; what is in a file is its reader's business.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class FolderMapping(Mapping[str, T]):
    """Names of files, without their suffix, to what is in them; empty where there is no folder.

    The folder is looked at whenever the mapping is, and a file is read whenever it is asked for: so
    it holds nothing in memory, and what was written in the meantime, by whomever, is there.

    Args:
        folder: Need not exist yet.
        suffix: Of the files that belong to it, such as ``.json``.
        read: Reads one of them; its errors should name the file.
    """

    def __init__(self, folder: Path, suffix: str, read: Callable[[Path], T]) -> None:
        self._folder = folder
        self._suffix = suffix
        self._read = read

    def __getitem__(self, name: str) -> T:
        path = self._folder / f"{name}{self._suffix}"
        if not path.is_file():
            raise KeyError(name)
        return self._read(path)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in self._folder.glob(f"*{self._suffix}")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def path_for(self, name: str) -> Path:
        """The file of a name, whether or not it is there.

        Raises:
            ValueError: If the name would lead elsewhere.
        """
        if not name or name.startswith(".") or Path(name).name != name:
            raise ValueError(f"{name!r} can't be the name of a file in {self._folder}")
        return self._folder / f"{name}{self._suffix}"
