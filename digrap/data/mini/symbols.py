"""The glyphs of DejaVu Sans that make the miniature DomainNet: 45 named symbols and 240 others.

The 45 symbols are the classes. The 240 others are seen in pre-training only, where they stand for the many categories a
foundation model knows besides those it is fine-tuned on. They were chosen once from the font's symbols,
arrows and scripts: no blank or dot-like glyph, no variant of a class (white chess pieces of the same kind, outlined
stars, further suits, dice, faces, flowers, scissors), and no two glyphs whose blurred masks have a cosine above 0.86.
`tools/make_glyphs.py` checks the last rule between the others and the classes.
"""

from __future__ import annotations

SYMBOLS: dict[str, int] = {
    "airplane": 0x2708,  # ✈
    "alembic": 0x2697,  # ⚗
    "anchor": 0x2693,  # ⚓
    "atom": 0x269B,  # ⚛
    "cat": 0x1F431,  # 🐱
    "check_mark": 0x2714,  # ✔
    "chess_knight": 0x265E,  # ♞
    "chess_queen": 0x265B,  # ♛
    "chess_rook": 0x265C,  # ♜
    "cloud": 0x2601,  # ☁
    "club": 0x2663,  # ♣
    "coffee": 0x2615,  # ☕
    "crescent_moon": 0x263E,  # ☾
    "diamond": 0x2666,  # ♦
    "die": 0x2684,  # ⚄
    "envelope": 0x2709,  # ✉
    "flower": 0x273F,  # ✿
    "gear": 0x2699,  # ⚙
    "hammer_and_pick": 0x2692,  # ⚒
    "heart": 0x2665,  # ♥
    "hot_spring": 0x2668,  # ♨
    "house": 0x2302,  # ⌂
    "monkey": 0x1F435,  # 🐵
    "music_notes": 0x266B,  # ♫
    "peace": 0x262E,  # ☮
    "pencil": 0x270E,  # ✎
    "pointing_hand": 0x261B,  # ☛
    "radiation": 0x2622,  # ☢
    "recycling": 0x267B,  # ♻
    "scales": 0x2696,  # ⚖
    "scissors": 0x2702,  # ✂
    "ship_wheel": 0x2638,  # ☸
    "skull": 0x2620,  # ☠
    "smiling_face": 0x263A,  # ☺
    "snowflake": 0x2744,  # ❄
    "spade": 0x2660,  # ♠
    "star": 0x2605,  # ★
    "sun": 0x2600,  # ☀
    "swords": 0x2694,  # ⚔
    "telephone": 0x260E,  # ☎
    "umbrella": 0x2602,  # ☂
    "victory_hand": 0x270C,  # ✌
    "warning": 0x26A0,  # ⚠
    "wheelchair": 0x267F,  # ♿
    "yin_yang": 0x262F,  # ☯
}
"""Class name → code point, in label order (alphabetical)."""

CLASSES: tuple[str, ...] = tuple(SYMBOLS)

_OTHER_CODES = (
    # Symbols, chess pieces, dingbats.
    "2603 2604 2607 2608 2609 260A 260B 260C 260D 2613 2621 2623 263F 2640 2641 2642 2643 2644 2645 2647 "
    "2648 264A 264B 264C 264D 264E 264F 2650 2651 2652 2653 2654 2657 2659 266D 266E 267E 2690 2691 269A "
    "269E 269F 26A1 26A6 26A9 26AE 26B1 26B4 26B6 26B7 26B8 26C0 26C3 270D 2719 271B 275E 2761 276C 276D "
    "2781 2783 2794 2798 279B 279D 27A2 27A8 27A9 27AA 27AB 27AC 27AD 27AE 27B2 27B3 27B4 27B6 1F42D "
    # Arrows, mathematics.
    "2196 219C 219D 219F 21A2 21A6 21AB 21AF 21B0 21B1 21B2 21B3 21B4 21B5 21B6 21B7 21B8 21B9 21BA 21BB "
    "21C4 21C5 21D0 21D1 21D3 21D6 21D7 21D8 21D9 21E0 21E1 21F0 21F1 21F2 21F5 21F6 21F8 2201 2202 2204 "
    "2208 2209 220B 220F 2213 2214 221A 221B 221D 221E 2220 2222 2229 222C 222E "
    # Latin letters, digits.
    "0044 0046 0047 004B 004D 004E 0050 0051 0053 0057 0059 005A 0061 0062 0065 0066 0067 006B 006D 0074 "
    "0032 0034 0036 0037 0026 0024 0025 "
    # Greek, Cyrillic, Armenian, Hebrew, Georgian letters.
    "00A7 20AC 00C6 00C7 00DF 00BD 039E 03B1 03B6 03BC 03C4 03C9 03D6 03DE 03DF 03E1 03E6 03EB 03F0 03FA "
    "03FC 0409 040A 040E 0414 041B 0426 0427 0429 042C 042E 043D 0452 0463 0466 0468 046C 0470 0474 0478 "
    "047C 0533 0538 0539 053B 053F 0540 0542 0544 0547 054B 054C 0552 05D1 05D3 05DE 05E3 05E7 05E9 10D3 "
    "10D6 10DA 10DD 10E4 10ED "
    # Tifinagh letters.
    "2D3D 2D3F 2D41 2D44 2D4A 2D4B 2D4C 2D4D 2D52 2D53 2D56 2D5B 2D61 2D63 "
)

OTHERS: tuple[int, ...] = tuple(int(code, 16) for code in _OTHER_CODES.split())
"""The code points of the 240 other glyphs; their labels in pre-training follow the classes'."""

CODE_POINTS: tuple[int, ...] = (*SYMBOLS.values(), *OTHERS)
"""All 285 code points, in the order of the shipped masks."""
