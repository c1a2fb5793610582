"""Pre-train a tiny vision-language model for minivqa on general scenes, and measure it.

    python tools/pretrain_minivqa.py [model=tiny_paligemma steps=2500 threads=2 device=cuda plain=16 …]
    python tools/pretrain_minivqa.py start=outputs/first.safetensors [model=tiny_paligemma …]

The first stage: captions come first, the contents of the four cells in order, and the share of questions rises linearly
from 0 to 90 %: from questions alone a model learns their answers' prior and does not see. AdamW, one cycle up to 2e-3,
batches of 128. The second stage goes on from the weights of a first one, with other defaults: 45 % of its pictures are
single symbols of the picture's size, as the miniature DomainNet draws them in clipart, sketch and painting (the first
stage has 5 %), and half of its other captions and questions are about places.

Held out are the styles of fine-tuning (real) and of TextVQA (infograph), quickdraw, and the wordings of Rephrasings,
TextVQA and OK-VQA. An interrupted start is resumed by the same command; `stop=500` ends one at step 500. The weights
are shipped in half precision.

Printed are exact answers in percent, on plain scenes, on those of fine-tuning's style and on written words: captions,
counts, colors, yes/no, names, places, facts, words, and the same with shuffled pictures, which must fall to what needs
no picture.

The shipped weights are those of the defaults with device=cuda (an H200, torch 2.11, 3 minutes; on one CPU core a step
takes half a second, the whole 21 minutes, and gives other bits). Expected, in percent, with shuffled pictures in
parentheses:

                            captions  counts    colors    yes/no    names     places    facts     words
    tiny_paligemma  plain   100 (0)   79 (40)   71 (14)   79 (52)   100 (9)   63 (49)   89 (81)   100 (4)
                    real    63 (0)    71 (42)   66 (19)   77 (57)   85 (2)    60 (51)   89 (88)
    tiny_llava      plain   100 (0)   68 (39)   52 (14)   66 (60)   99 (9)    61 (54)   94 (82)   99 (4)
                    real    63 (0)    58 (40)   51 (19)   63 (63)   85 (5)    61 (48)   92 (85)
    tiny_blip       plain   92 (0)    77 (40)   50 (12)   77 (54)   76 (10)   51 (43)   79 (80)   42 (5)
                    real    40 (0)    71 (39)   58 (18)   73 (50)   62 (4)    48 (54)   85 (85)

tiny_blip is LAVIS's class and needs that package; its weights are those of model=tiny_blip steps=1200 on a CPU core (12
minutes, torch 2.15). A caption is the answer to "name each symbol in the image", as for the others.

So they see colors and names and read words, and places hardly; half of the facts are told of names and need no picture.

Expected of plain scenes alone (plain=16, all other parts 0): with asking=0, captions alone, the loss stays at 1.3,
that of not seeing, for 150 steps, and is 0.07 at step 240; steps=360 gives captions 99.3 on plain scenes and 2.7 on
those of style real, which are unlike.
"""

from __future__ import annotations

from digrap.cli.door import door
from digrap.cli.pretrain_minivqa import main

if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
