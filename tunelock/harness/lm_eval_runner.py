"""lm-evaluation-harness (https://github.com/EleutherAI/lm-evaluation-harness) on a model folder of ours.

Its tasks for our splits are in the folder `tasks`. The harness loads the model, applies the chat template, tokenises
and scores by itself: what is shared with `tunelock.answering` is the folder alone.
"""

import importlib.util
import logging
from pathlib import Path

from tunelock.model.modeling import find_device, resolve_dtype
from tunelock.model.tuned import ADAPTER_CONFIG
from tunelock.records.reasoning import SWITCHES
from tunelock.run.errors import Stop
from tunelock.run.files import write_jsonl

TASKS = Path(__file__).parent / "tasks"
FOLDER = Path(".ckpt/harness")  # the rows, where the task files look for them


def require() -> None:
    """Stop with the command that installs lm-eval if it is missing."""
    if not importlib.util.find_spec("lm_eval"):
        command = "python -m pip install --no-deps --require-hashes -r locks/harness.txt"
        raise Stop(f"lm-eval, an optional extra, is not installed; run `{command}`.")


def load(folder: str, dtype: str, batch_size: int, thinking: str = "none"):
    """The harness's `hf` model on a folder, its sums of log-probabilities in float32 as ours are.

    It differs in one thing: the harness moves the white space at the end of a prompt to the answer, and would score the
    line break of "assistant\\n" as part of every answer. Here the prompt stays whole. The chat template is asked as by
    the param `thinking`.

    Raises:
        Stop: the folder holds a soft prompt, whose tokens the harness would count as the prompt's.
    """
    from lm_eval.models.huggingface import HFLM

    if Path(folder, ADAPTER_CONFIG).exists():
        raise Stop(f"{folder} is a soft prompt with its base, which the harness cannot score; train lora or full.")

    class WholePrompt(HFLM):
        def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
            whole = self.tok_encode(context + continuation, add_special_tokens=False)
            prompt = self.tok_encode(context, add_special_tokens=False)
            return prompt, whole[len(prompt) :]

    return WholePrompt(
        pretrained=folder,
        dtype=resolve_dtype(dtype),
        softmax_dtype="float32",
        device=find_device(),
        batch_size=batch_size,
        trust_remote_code=False,
        chat_template_args=SWITCHES[thinking],
    )


def score(model, documents_of: dict[str, list[dict]], task_folder: Path = TASKS) -> dict:
    """Run tasks of ours on rows of `documents`; the result is that of lm-eval's `evaluate`, samples included."""
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval.api.task").setLevel(logging.ERROR)  # it explains custom_dataset whenever one is used
    for task, rows in documents_of.items():
        write_jsonl(FOLDER / f"{task}.jsonl", rows)
    tasks = TaskManager(include_path=task_folder, include_defaults=False).load(list(documents_of))
    return evaluate(model, tasks, apply_chat_template=True, bootstrap_iters=0)


def their_tasks(names: list[str]) -> dict:
    """Tasks of the harness with their data, as its `evaluate` takes them.

    Raises:
        Stop: there is no such task, its data cannot be had, or it would run code that the model writes.
    """
    from lm_eval.defaults import DEFAULT_OTHER_SEED
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    unknown = sorted(set(names) - set(manager.all_tasks))
    if unknown:
        raise Stop(f"--task: lm-eval has no task '{unknown[0]}'; `lm-eval ls tasks` lists them.")
    try:
        tasks = manager.load(names)
    except Exception as error:  # of the hub's client, of datasets, of a package that a task wants: many kinds
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise Stop(
            f"--task: the data of {', '.join(names)} cannot be had ({reason}); fetch it with a network."
        ) from None
    for name, task in tasks["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False):
            raise Stop(f"--task: {name} runs code that the model writes; leave it out.")
        task.set_fewshot_seed(DEFAULT_OTHER_SEED)
    return tasks


def score_theirs(model, tasks: dict) -> str:
    """The harness's own table for `their_tasks`, run as it would: as plain texts, without a chat template."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.utils import make_table

    plain = HFLM(model.model, tokenizer=model.tokenizer, batch_size=model.batch_size)
    return make_table(evaluate(plain, tasks, bootstrap_iters=0))
