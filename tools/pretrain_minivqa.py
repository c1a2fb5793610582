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

Printed are exact answers in percent, on plain scenes, on those of fine-tuning's style, on written words and on single
symbols: captions, counts, colors, yes/no, names, places, facts, words, domains, and the same with shuffled pictures,
which must fall to what needs no picture.

The shipped weights of tiny_paligemma and tiny_llava had both stages. The first were the defaults with device=cuda (an
H200, torch 2.11, 3 minutes; on one CPU core a step takes half a second, the whole 21 minutes, and gives other bits);
the shipped files note the sha256 of its files (start_sha256: 02db20d6… and d9cfc770…), which were shipped before.
The second were its defaults, with steps=700 for tiny_llava, on one CPU core (torch 2.15; 8 minutes where the core is
free). From nothing, a model is made by

    python tools/pretrain_minivqa.py model=tiny_llava out=outputs/first.safetensors
    python tools/pretrain_minivqa.py model=tiny_llava steps=700 start=outputs/first.safetensors

tiny_blip is LAVIS's class and needs that package; its weights are those of a first stage, model=tiny_blip steps=1200,
on a CPU core (12 minutes, torch 2.15). A caption is the answer to "name each symbol in the image", as for the others.

Expected of the shipped weights, in percent, with shuffled pictures in parentheses:

                            captions  counts    colors    yes/no    names     places    facts     words
    tiny_paligemma  plain   100 (0)   79 (36)   63 (16)   73 (52)   97 (6)    66 (50)   92 (80)   98 (4)
                    real    55 (0)    66 (43)   59 (25)   75 (58)   80 (8)    61 (48)   92 (84)
    tiny_llava      plain   99 (0)    64 (37)   50 (17)   66 (57)   94 (5)    65 (51)   93 (82)   96 (4)
                    real    49 (0)    54 (44)   57 (20)   57 (50)   74 (8)    66 (51)   90 (84)
    tiny_blip       plain   92 (0)    77 (40)   50 (12)   77 (54)   76 (10)   51 (43)   79 (80)   42 (5)
                    real    40 (0)    71 (39)   58 (18)   73 (50)   62 (4)    48 (54)   85 (85)

    single symbols          real      clipart   sketch    painting  infograph quickdraw
    tiny_paligemma          12 (1)    60 (3)    55 (4)    17 (2)    5 (3)     41 (4)
    tiny_llava              12 (1)    65 (4)    52 (3)    12 (1)    5 (2)     44 (3)

The first stage alone, on the same pictures (seed=1; tiny_blip's numbers are those of seed=0):

    tiny_paligemma  plain   100 (0)   84 (39)   66 (15)   78 (53)   100 (6)   63 (52)   87 (84)   99 (4)
                    real    66 (0)    74 (41)   56 (22)   80 (58)   83 (9)    59 (46)   88 (83)
    tiny_llava      plain   100 (0)   68 (42)   53 (23)   61 (56)   98 (6)    63 (51)   93 (81)   99 (4)
                    real    61 (0)    60 (41)   62 (20)   57 (50)   80 (8)    63 (51)   92 (83)

    single symbols          real      clipart   sketch    painting  infograph quickdraw
    tiny_paligemma          3 (1)     7 (3)     9 (1)     3 (2)     4 (2)     7 (3)
    tiny_llava              3 (2)     13 (2)    11 (3)    5 (2)     3 (3)     7 (2)

So the models see colors and names and read words; they name single symbols in the styles of pre-training, and seldom in
that of fine-tuning. Places they see hardly: the second stage adds 2 to 3 points, within the error of 200 questions. It
costs 4 to 8 points of counts, and 11 of captions in style real. Half of the facts are told of names, without a picture.

Expected of plain scenes alone (plain=16, all other parts 0): with asking=0, captions alone, the loss stays at 1.3,
that of not seeing, for 150 steps, and is 0.07 at step 240; steps=360 gives captions 99.3 on plain scenes and 2.7 on
those of style real, which are unlike.
"""

from __future__ import annotations

from digrap.cli.door import door
from digrap.cli.pretrain_minivqa import main

if __name__ == "__main__":
    raise SystemExit(door(main, __doc__))
