r"""Protocols of MATH: `boxed` (zero-shot, official), `minerva` (4-shot) and `lenient`, which reads with math-verify."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kkwarm.protocols import TextReader
from kkwarm.types import Example, Message, Protocol, Sampling

__all__ = ["BOXED", "LENIENT", "MINERVA", "PROTOCOLS"]

_INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."
_QWEN = "Qwen2.5-Math, evaluation/utils.py (QwenLM/Qwen2.5-Math)"


def _text(messages: Sequence[Message]) -> str:
    """Qwen2.5-Math's template `deepseek-math`, for checkpoints without a chat template; shots are further turns."""
    turns = []
    instruction = "\n".join(m.content for m in messages if m.role == "system")
    for m in messages:
        if m.role == "user":
            turns.append("\n".join(part for part in (f"User: {m.content}", instruction) if part))
        elif m.role == "assistant":
            turns.append(f"Assistant: {m.content}")
    return "\n\n".join([*turns, "Assistant:"])


BOXED = Protocol(
    "boxed",
    TextReader(r"The final answer is $\boxed{{answer}}$."),
    benchmark="math",
    system=_INSTRUCTION,
    text=_text,
    chat=True,
    sampling=Sampling(0.0, 1.0, 4096),
    official=True,
    description=r"zero-shot; the final answer in \boxed{}, compared exactly",
    source=f"{_QWEN}, prompt qwen25-math-cot; without a chat template its deepseek-math",
)
LENIENT = replace(
    BOXED,
    name="lenient",
    verifier="math_lenient",
    official=False,
    description="as boxed; answers are read and compared by math-verify",
    source=f"{_QWEN}; math-verify 0.9",
)


def _minerva_question(example: Example) -> str:
    return f"Problem:\n{example.question}\n\nSolution:"


def _minerva_text(messages: Sequence[Message]) -> str:
    """As lm-eval joins a question, its answer and the next question."""
    follow = {"system": "\n\n", "user": " ", "assistant": "\n\n"}
    return "".join(m.content + follow[m.role] for m in messages).removesuffix(" ")


def _minerva_solution(example: Example) -> str:
    return str(example.meta["solution"])


def _minerva_examples(example: Example) -> Sequence[Example]:
    return _MINERVA


_MINERVA_ROWS = (
    (
        r"Find the domain of the expression  $\frac{\sqrt{x-2}}{\sqrt{5-x}}$.",
        r"The expressions inside each square root must be non-negative. Therefore, $x-2 \ge 0$, so $x\ge2$, and "
        r"$5 - x \ge 0$, so $x \le 5$. Also, the denominator cannot be equal to zero, so $5-x>0$, which gives $x<5$. "
        r"Therefore, the domain of the expression is $\boxed{[2,5)}$.",
        "[2,5)",
    ),
    (
        r"If $\det \mathbf{A} = 2$ and $\det \mathbf{B} = 12,$ then find $\det (\mathbf{A} \mathbf{B}).$",
        r"We have that $\det (\mathbf{A} \mathbf{B}) = (\det \mathbf{A})(\det \mathbf{B}) = (2)(12) = \boxed{24}.$",
        "24",
    ),
    (
        "Terrell usually lifts two 20-pound weights 12 times. If he uses two 15-pound weights instead, how many times "
        "must Terrell lift them in order to lift the same total weight?",
        r"If Terrell lifts two 20-pound weights 12 times, he lifts a total of $2\cdot 12\cdot20=480$ pounds of weight."
        r"  If he lifts two 15-pound weights instead for $n$ times, he will lift a total of $2\cdot15\cdot n=30n$ "
        "pounds of weight.  Equating this to 480 pounds, we can solve for $n$:\n"
        "\\begin{align*}\n30n&=480\\\\\n\\Rightarrow\\qquad n&=480/30=\\boxed{16}\n\\end{align*}",
        "16",
    ),
    (
        "If the system of equations\n\n\\begin{align*}\n6x-4y&=a,\\\\\n6y-9x &=b.\n\\end{align*}has a solution $(x, "
        "y)$ where $x$ and $y$ are both nonzero,\nfind $\\frac{a}{b},$ assuming $b$ is nonzero.",
        "If we multiply the first equation by $-\\frac{3}{2}$, we obtain\n\n$$6y-9x=-\\frac{3}{2}a.$$"
        "Since we also know that $6y-9x=b$, we have\n\n"
        r"$$-\frac{3}{2}a=b\Rightarrow\frac{a}{b}=\boxed{-\frac{2}{3}}.$$",
        r"-\frac{2}{3}",
    ),
)
_MINERVA = tuple(
    Example(
        f"minerva/{number}",
        problem,
        answer,
        "train",
        {"solution": f"{solution}\nFinal Answer: The final answer is ${answer}$. I hope it is correct."},
    )
    for number, (problem, solution, answer) in enumerate(_MINERVA_ROWS)
)
_MINERVA_STOP = ("Problem:",)
MINERVA = Protocol(
    "minerva",
    TextReader("Final Answer: The final answer is ${answer}$. I hope it is correct.", _MINERVA_STOP),
    benchmark="math",
    question=_minerva_question,
    text=_minerva_text,
    shots=4,
    shot_examples=_minerva_examples,
    solution=_minerva_solution,
    stop=_MINERVA_STOP,
    sampling=Sampling(0.0, 1.0, 1024),
    description="four fixed solved problems; 'The final answer is X. I hope it is correct.'",
    source="Lewkowycz et al. 2022 (arXiv 2206.14858), as lm-eval 0.4.13's minerva_math500",
)
PROTOCOLS = (BOXED, MINERVA, LENIENT)
