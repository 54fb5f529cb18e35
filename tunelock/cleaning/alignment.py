"""Does a reference answer its question, and which language is a text in? Rules, no model of the meaning.

`ANSWER_RULES` names the rules, in the order in which they are tried; `alignment_rules` in params.yaml chooses from
them. A new one is a function of question and reference that says whether it is broken, and its line in that table.
"""

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

ECHO_CHARS = 15  # "Good morning" may be answered with the same words, a whole question may not
LONG_QUESTION = 200  # words; where so much is to be explained,
CUT_OFF = 2  # characters are what is left of an answer
SCRIPT_LETTERS = 20  # with fewer, a name or a term in another script decides
MINORITY = 0.1  # a script with this share of the question's letters is one that the question uses
CODE_MARKS = 0.05  # the share of these marks from which a text is code or formulas
LANGUAGE_BYTES = 20  # of letters in UTF-8, and
LANGUAGE_PROBABILITY = 0.7  # none of the 18,017 English texts of the CWE catalogue is then taken for another language
LANGUAGE_CHARS = 1000  # are enough to tell

LABELS = frozenset(
    ("a", "ai", "answer", "assistant", "here", "is", "output", "q", "question", "response", "sure", "the")
)
CANNOT = r"(?:can ?not|can't|won't|will not|am unable to|'m unable to|am not able to|'m not able to|must decline to)"
TASK = (
    r"(?:assist|comply|fulfil+|engage in|help (?:you|with)|do (?:that|this)|participate in"
    r"|(?:provide|answer|generate|write|create|produce|support|discuss|complete|respond to|offer|give|tell) "
    r"(?:you|that|this|any|your|such|information|instructions|advice|content))\b"
)
SORRY = r"(?:(?:(?:i am|i'm|we are|we're) )?(?:\w+ )?sorry|(?:i|my) apolog\w+|unfortunately)[,.!]? (?:but )?"
MODEL = r"as an? (?:ai|artificial intelligence|(?:large )?language model|chatbot|virtual assistant)\b"
REFUSAL = re.compile(
    rf"\W*(?:{SORRY}(?:{MODEL}|i ?{CANNOT} (?:{TASK}|access|browse|determine|predict|process|help\b)"
    rf"|i ?(?:can ?not|can't)(?=[.!]|$)|i (?:do not|don't) have (?:access|enough|any information))"
    rf"|i ?{CANNOT} {TASK}|{MODEL}[^.!?]{{0,80}}?\bi ?(?:{CANNOT}|do not|don't|am not|'m not)\b)"
)
EXPLAIN = re.compile(
    r"\b(?:explain|describe|discuss|elaborate|summari[sz]e|compare|justify|why|how (?:do|does|did|can|could))\b"
)
CHOICE = re.compile(
    r"\b(?:which|choose|select|options?|choices?|classify|category|label|true or false|yes or no"
    r"|how (?:many|much|old|long)|score|rate|rating|number|letter)\b|^[ \t]*(?:\(?[a-h1-9][).:]|[-*•])\s",
    re.MULTILINE,
)
OTHER_LANGUAGE = re.compile(
    r"transl|romani[sz]|pinyin|kanji|hiragana|cyrillic|bilingual|languages?\b|traduc|traduz|übersetz|перев[её]|翻译"
    r"|翻譯|翻訳|번역|ترجم|अनुवाद|[英中日韩韓法德俄汉漢][语語文]|английск|русск|영어|한국어|الإنجليزية|अंग्रेज"
    r"|\b(?:arabic|bengali|chinese|dutch|english|french|german|greek|hebrew|hindi|italian|japanese|korean|mandarin"
    r"|persian|polish|portuguese|russian|spanish|tamil|thai|turkish|ukrainian|urdu|vietnamese)\b"
)
CODE = re.compile(r"[{}()\[\];=<>_\\^|$#+*/]")
CJK = ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "BOPOMOFO")


def find_broken_answer_rule(question: str, reference: str, rules: Collection[str]) -> str | None:
    """The first of these rules, in the order of ANSWER_RULES, that the reference breaks; None if it breaks none."""
    for name, is_broken in ANSWER_RULES.items():
        if name in rules and is_broken(question, reference):
            return name
    return None


def _is_echo(question: str, reference: str) -> bool:
    """True if the answer is the whole question, instruction included, and at most words such as `Answer:` besides.

    An answer that leaves a part out is none: a corrected or translated text is all of its question but a few words.
    """
    asked, answered = _normalise_words(question), _normalise_words(reference)
    if len(asked) < ECHO_CHARS or f" {asked} " not in f" {answered} ":
        return False
    return LABELS.issuperset(f" {answered} ".replace(f" {asked} ", " ").split())


def _is_refusal(question: str, reference: str) -> bool:
    """True if the answer opens as an assistant's refusal, unless the question quotes it; English only."""
    found = REFUSAL.match(_simplify_text(reference[:300]))
    return bool(found) and found[0].strip() not in _simplify_text(question)


def _is_cut_off(question: str, reference: str) -> bool:
    """True for one or two characters on a long question that asks to explain and offers nothing to choose from.

    What is asked for stands in the first or last lines, so the words of a long passage between do not count.
    """
    if len(reference.strip()) > CUT_OFF or len(question.split()) < LONG_QUESTION:
        return False
    asked = _simplify_text(question[:200] + "\n" + question[-200:])
    return bool(EXPLAIN.search(asked)) and not CHOICE.search(_simplify_text(question))


def _is_in_wrong_script(question: str, reference: str) -> bool:
    """True if the answer's main script is hardly in the question, which asks for no other language, nor is it code."""
    if question.isascii() and reference.isascii():
        return False
    asked, answered = _count_scripts(question), _count_scripts(reference)
    if min(asked.total(), answered.total()) < SCRIPT_LETTERS:
        return False
    if asked[answered.most_common(1)[0][0]] >= MINORITY * asked.total():
        return False
    is_code = "```" in reference or len(CODE.findall(reference)) >= CODE_MARKS * len(reference)
    return not is_code and not OTHER_LANGUAGE.search(_simplify_text(question))


ANSWER_RULES: dict[str, Callable[[str, str], bool]] = {
    "echo": _is_echo,
    "refusal": _is_refusal,
    "too_short_for_question": _is_cut_off,
    "wrong_script": _is_in_wrong_script,
}


def detect_language(text: str) -> str | None:
    """The ISO 639-1 code of the text's language, or None where it is too short or too unlike a sentence to tell.

    By py3langid (Barbaresi's fork of langid.py; Lui and Baldwin, "langid.py: an off-the-shelf language
    identification tool", ACL 2012).
    """
    text = text[:LANGUAGE_CHARS]
    if len("".join(filter(str.isalpha, text)).encode("utf-8", "replace")) < LANGUAGE_BYTES:
        return None
    code, probability = _load_identifier().classify(text)
    return code if probability >= LANGUAGE_PROBABILITY and len(code) == 2 else None


@functools.cache
def _load_identifier() -> Any:
    """py3langid's identifier with probabilities; it takes most of a second to build."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _count_scripts(text: str, letters: int = 500) -> Counter[str]:
    """How many of the first letters belong to each script; those of Chinese and Japanese are one."""
    if text.isascii():
        return Counter({"LATIN": sum(map(str.isalpha, text[: 2 * letters]))})
    found = [c for c in text[: 4 * letters] if c.isalpha()][:letters]
    return Counter(map(_name_script, found))


def _name_script(letter: str) -> str:
    """The first word of a letter's Unicode name, its width aside: LATIN, CYRILLIC, CJK."""
    name = unicodedata.name(letter, "UNKNOWN").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ").split()[0]
    return "CJK" if name in CJK else name


def _normalise_words(text: str) -> str:
    """The words of a text, whatever their case, punctuation and spacing."""
    return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))


def _simplify_text(text: str) -> str:
    """Lower case and straight apostrophes, white space other than line ends folded."""
    return re.sub(r"[^\S\n]+", " ", text.lower().replace("’", "'").replace("‘", "'"))
