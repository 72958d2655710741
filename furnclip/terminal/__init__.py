"""Pictures in a terminal: ask what it can do, choose a protocol, turn images into bytes.

Pure functions but for ``detect``, which talks to the terminal once. Nothing here knows who draws.
"""

from furnclip.terminal.choose import Terminal, choose
from furnclip.terminal.detect import detect
from furnclip.terminal.draw import draw
from furnclip.terminal.probe import Replies, parse_replies

__all__ = ["Replies", "Terminal", "choose", "detect", "draw", "parse_replies"]
