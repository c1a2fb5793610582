"""Contractions whose apostrophes the VQA scorers put back; one table in GT-Vision-Lab/VQA, LAVIS and MMF."""

# The table has each of these words with any one of its apostrophes left out, as a key whose value is the word.
_WORDS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's I'd've I'm I've isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't
not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
"""


def _one_apostrophe_less(word: str) -> list[str]:
    return [word[:place] + word[place + 1 :] for place, letter in enumerate(word) if letter == "'"]


CONTRACTIONS: dict[str, str] = {short: word for word in _WORDS.split() for short in _one_apostrophe_less(word)}
# The table's one slip, which takes an apostrophe away. Keys with a capital never match lower-case texts.
CONTRACTIONS["somebody'd"] = "somebodyd"
