"""Pre-train a tiny vision-language model for minivqa on general scenes, and measure it.

    python tools/pretrain_minivqa.py [model=tiny_paligemma steps=2500 threads=2 device=cuda plain=16 …]
    python tools/pretrain_minivqa.py start=outputs/first.safetensors [model=tiny_paligemma …]

The first stage: captions come first, the contents of the four cells in order, and the share of questions rises linearly
from 0 to 90 %: from questions alone a model learns their answers' prior and does not see. AdamW, one cycle up to 2e-3,
batches of 128. The second stage goes on from the weights of a first one, with other defaults: a third of its pictures
are single symbols of the picture's size, as the miniature DomainNet draws them in clipart, sketch and painting (the
first stage has 5 %), and three in ten of its other captions and questions are about places.

Held out are the styles of fine-tuning (real) and of TextVQA (infograph), quickdraw, and the wordings of Rephrasings,
TextVQA and OK-VQA. An interrupted start is resumed by the same command; `stop=500` ends one at step 500. The weights
are shipped in half precision.

Printed are exact answers in percent, on plain scenes, on those of fine-tuning's style, on written words and on single
symbols: captions, counts, colors, yes/no, names, places, facts, words, domains, and the same with shuffled pictures,
which must fall to what needs no picture.

The shipped weights of tiny_paligemma and tiny_llava had both stages. The first were the defaults with device=cuda (an
H200, torch 2.11, 3 minutes; on one CPU core a step takes half a second, the whole 21 minutes, and gives other bits);
the shipped files note the sha256 of its files (start_sha256: 02db20d6… and d9cfc770…), which were shipped before, as
release 1. The second were its defaults on one CPU core (torch 2.15; half a second a step where the core is free). From
nothing, a model is made by

    python tools/pretrain_minivqa.py model=tiny_llava out=outputs/first.safetensors
    python tools/pretrain_minivqa.py model=tiny_llava start=outputs/first.safetensors

tiny_blip is LAVIS's class and needs that package; its weights are those of a first stage, model=tiny_blip steps=1200,
on a CPU core (12 minutes, torch 2.15). A caption is the answer to "name each symbol in the image", as for the others.

Expected of the shipped weights, in percent, with shuffled pictures in parentheses (of tiny_blip with seed=0):

                            captions  counts    colors    yes/no    names     places    facts     words
    tiny_paligemma  plain   100 (0)   95 (38)   100 (18)  96 (58)   100 (5)   77 (45)   99 (81)   100 (4)
                    real    60 (0)    79 (40)   91 (14)   87 (57)   83 (9)    69 (52)   96 (85)
    tiny_llava      plain   100 (0)   78 (38)   57 (15)   77 (53)   99 (6)    65 (52)   98 (82)   99 (4)
                    real    62 (0)    67 (42)   57 (18)   77 (54)   80 (7)    59 (47)   97 (85)
    tiny_blip       plain   92 (0)    77 (40)   50 (12)   77 (54)   76 (10)   51 (43)   79 (80)   42 (5)
                    real    40 (0)    71 (39)   58 (18)   73 (50)   62 (4)    48 (54)   85 (85)

    single symbols          real      clipart   sketch    painting  infograph quickdraw
    tiny_paligemma          19 (1)    84 (2)    75 (3)    29 (2)    3 (2)     56 (3)
    tiny_llava              21 (2)    85 (2)    75 (4)    27 (2)    6 (0)     60 (3)

The first stage alone, on the same pictures (seed=1):

    tiny_paligemma  plain   100 (0)   84 (39)   66 (15)   78 (53)   100 (6)   63 (52)   87 (84)   99 (4)
                    real    66 (0)    74 (41)   56 (22)   80 (58)   83 (9)    59 (46)   88 (83)
    tiny_llava      plain   100 (0)   68 (42)   53 (23)   61 (56)   98 (6)    63 (51)   93 (81)   99 (4)
                    real    61 (0)    60 (41)   62 (20)   57 (50)   80 (8)    63 (51)   92 (83)

    single symbols          real      clipart   sketch    painting  infograph quickdraw
    tiny_paligemma          3 (1)     7 (3)     9 (1)     3 (2)     4 (2)     7 (3)
    tiny_llava              3 (2)     13 (2)    11 (3)    5 (2)     3 (3)     7 (2)

So the models see colors and names and read words; they name single symbols in the styles of pre-training, and seldom in
that of fine-tuning. The second stage gives tiny_paligemma places, counts and colors; tiny_llava hardly sees places. It
costs captions in style real 6 points (tiny_paligemma). Half of the facts are told of names, without a picture.

Expected of plain scenes alone (plain=16, all other parts 0): with asking=0, captions alone, the loss stays at 1.3,
that of not seeing, for 150 steps, and is 0.07 at step 240; steps=360 gives captions 99.3 on plain scenes and 2.7 on
those of style real, which are unlike.
"""

from __future__ import annotations

from digrap.cli.door import door
from digrap.cli.pretrain_minivqa import main

if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
