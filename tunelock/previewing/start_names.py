"""What the names of columns say in a handful of languages: question, answer, context, options, task, group, or none."""

import re

ANSWERS = (
    "answer", "response", "completion", "output", "reply", "assistant", "chosen", "final_decision",
    "final_answer", "correct_answer", "correct_option", "correct", "best_answer", "answerkey", "answer_key",
    "label", "labels", "label_text", "target", "targets", "solution", "gold", "answers", "summary",
    "highlights", "translation", "class", "sentiment", "verdict", "intent", "cop", "antwort", "réponse",
    "reponse", "respuesta", "resposta", "risposta", "ответ", "回答", "答案", "答", "答え", "回复", "标签",
    "類別", "답변", "답", "الجواب", "جواب", "الإجابة", "إجابة", "الرد", "תשובה", "उत्तर", "lösung", "resolution",
)  # fmt: skip
QUESTIONS = (
    "instruction", "question", "prompt", "query", "utterance", "problem", "ask", "user", "input", "claim",
    "statement", "hypothesis", "questions", "sentence", "title", "frage", "aufgabe", "pregunta", "domanda",
    "pergunta", "вопрос", "问题", "提问", "質問", "問題", "问", "질문", "السؤال",
    "سؤال", "שאלה", "प्रश्न", "anfrage", "demande",
)  # fmt: skip
CONTEXTS = (
    "context", "contexts", "passage", "document", "contract", "article", "paragraph", "input", "background",
    "abstract", "evidence", "text", "body", "story", "content", "excerpt", "premise", "dialogue", "dialog",
    "sentence", "sentence1", "sentence2", "claim", "hypothesis", "history", "knowledge", "clause", "kontext",
    "contexte", "contexto", "contesto", "контекст", "上下文", "文章", "背景", "文本", "本文", "지문",
)  # fmt: skip
OPTIONS = ("options", "choices", "candidates", "alternatives", "endings", "选项", "選択肢")
SYSTEMS = ("system", "system_prompt", "system_message")
TASKS = (
    "task", "category", "topic", "type", "subject", "domain", "area", "section", "subset", "intent", "kind",
    "genre", "kategorie", "thema", "catégorie", "categoría", "categoria", "类别", "分类", "主题", "分類",
    "種別", "種類", "カテゴリ", "カテゴリー", "주제", "분류", "الفئة", "التصنيف", "rubrik", "rubrique",
)  # fmt: skip
GROUPS = (
    "customer", "user", "account", "patient", "author", "person", "client", "doc", "document", "contract",
    "case", "thread", "conversation", "session", "ticket", "article", "passage", "context", "file", "filename",
    "title", "url", "source", "company", "product", "order", "group", "page", "book", "chapter", "video",
    "paper", "cust", "member", "student", "device", "machine", "kunde", "nutzer", "vertrag", "auftrag", "konto", "fall",
    "akte", "cliente", "paciente", "usuario", "compte", "dossier", "客户", "用户", "顧客", "患者", "고객",
    "العميل",
)  # fmt: skip
WRITERS = (
    "agent", "annotator", "assignee", "editor", "labeler", "labeller", "operator", "rater", "worker", "bearbeiter",
)  # fmt: skip
KEYS = (
    "id", "ids", "key", "uid", "uuid", "guid", "no", "nr", "num", "number", "nummer", "hash", "index", "idx", "kennung",
    "編號", "编号", "番号", "번호",
)  # fmt: skip
TELL_THE_ANSWER = (
    "explanation", "exp", "rationale", "reasoning", "cot", "justification", "why", "hint", "rejected",
    "distractor", "wrong", "incorrect", "correct", "feedback", "score", "rating", "confidence", "label",
    "labels", "gold",
)  # fmt: skip
NO_TEXT = (
    "date", "time", "timestamp", "created", "updated", "at", "url", "link", "href", "path", "lang", "language",
    "split", "version", "start", "end", "count", "length", "len", "num", "size", "licence", "license",
)  # fmt: skip
MEASURES = ("score", "scores", "rating", "confidence", "margin", "logprob", "votes", "rank")  # of an answer
LETTERED = re.compile(r"(?:options?|choices?|answers?|op|opt)?[_ ]?([a-h]|[1-8])", re.IGNORECASE)


def _split_name(name: str) -> list[str]:
    """The words of a column's name in lower case: `answerKey` and `Answer-key` are answer, key. Of a path the last
    name counts: `translation.de` is de."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rstrip(".").rpartition(".")[2])
    words = []
    for word in re.split(r"[\W_]+", apart.casefold()):
        words += _split_compound(word)
    return words


def _split_compound(word: str) -> list[str]:
    """What is written together: `userid` is user, id and `kundennr` is kunde, nr; any other word is itself."""
    for key in filter(word.endswith, KEYS):
        stem = word.removesuffix(key)
        for thing in (stem, stem[:-1]):  # German joins by an s or an n
            if thing in GROUPS:
                return [thing, key]
    return [word] if word else []


def rank_name(name: str, known: tuple[str, ...]) -> int | None:
    """How well a name fits a list: the place of the whole name in it, behind those the place of one of its words."""
    words = _split_name(name)
    for whole in ("_".join(words), "".join(words)):
        if whole in known:
            return known.index(whole)
    places = [known.index(word) for word in words if word in known]
    return len(known) + min(places) if places and not has_word(name, (*KEYS, *NO_TEXT)) else None


def has_word(name: str, known: tuple[str, ...]) -> bool:
    """Whether one of the words of a name is in a list."""
    return any(word in known for word in _split_name(name))


def find_lettered(names: list[str]) -> list[str]:
    """The columns that hold the options one by one: A, B, C, D or option_1, option_2; none if there is only one."""
    found = {match[1].upper(): name for name in names if (match := LETTERED.fullmatch(name))}
    first = [letter for letter in ("A", "1") if letter in found]
    if not first:
        return []
    run = [chr(ord(first[0]) + place) for place in range(len(found))]
    kept = [found[letter] for letter in run if letter in found]
    return kept if len(kept) > 1 else []
