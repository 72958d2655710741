"""Which pictures are on screen, which are on their way, and what the terminal was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from furnclip.arena.pictures import Encoded, PictureCache, PictureKey
from furnclip.arena.strips import placeholder_strips
from furnclip.terminal import kitty

if TYPE_CHECKING:
    from PIL import Image
    from textual.strip import Strip

    from furnclip.arena.widgets import Picture
    from furnclip.terminal.choose import Terminal


class Gallery:
    """Shows pictures in ``Picture`` widgets through one terminal.

    ``write`` sends bytes to the terminal at once (kitty's transmissions draw nothing);
    ``arrived`` is called from the encoder's thread.
    """

    def __init__(
        self,
        load: Callable[[int | Path], Image.Image],
        terminal: Terminal,
        *,
        write: Callable[[str], None],
        arrived: Callable[[PictureKey], None],
    ) -> None:
        self.terminal = terminal
        self._cache = PictureCache(load, terminal, arrived)
        self._write = write
        self._ids = kitty.ImageIds()

    def show(self, picture: Picture, key: PictureKey | None) -> None:
        """Show a picture that is ready; else a skeleton, and ask for it. Nothing without key."""
        encoded = self._cache.get(key) if key is not None else None
        if key is None or encoded is None:
            picture.expect(key)
            self.prefetch([key] if key is not None else [])
        else:
            picture.show(key, encoded, self._strips(key, encoded))

    def place(self, key: PictureKey, pictures: Iterable[Picture]) -> None:
        """Put a picture that has just arrived where it is awaited; kitty is sent it in any case."""
        encoded = self._cache.get(key)
        if encoded is None:
            return
        strips = self._strips(key, encoded)
        for picture in pictures:
            if picture.key == key and picture.awaited:
                picture.show(key, encoded, strips)

    def prefetch(self, keys: Iterable[PictureKey]) -> None:
        """Encode what is missing, in this order."""
        self._cache.request(keys)

    def forget(self) -> str:
        """Return the commands that delete what kitty was sent."""
        return "".join(self._wrapped(command) for command in kitty.delete(self._ids.used()))

    def close(self) -> None:
        """Stop encoding."""
        self._cache.close()

    def _strips(self, key: PictureKey, encoded: Encoded) -> tuple[Strip, ...]:
        """Return a picture's text; kitty's is a name, and the picture is sent to it once."""
        if not encoded.png:
            return encoded.strips
        image_id = self._ids.get(key)
        if image_id is None:
            image_id = self._ids.take(key)
            commands = kitty.transmit(image_id, encoded.png, columns=key.columns, rows=key.rows)
            self._write("".join(self._wrapped(command) for command in commands))
        return placeholder_strips(image_id, key.columns, key.rows)

    def _wrapped(self, command: bytes) -> str:
        return (kitty.through_tmux(command) if self.terminal.tmux else command).decode("ascii")
