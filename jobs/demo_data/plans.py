"""What is invented: organizations, their teams, projects and habits. Figures are drawn around these by a seed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from accounts.models import Role

# Month by month the models that a kind of work is done with, as they came out and were replaced; shares of its calls.
Era = tuple[date, dict[str, int]]
HARD_QUESTIONS: Sequence[Era] = (
    (date(2000, 1, 1), {"o3": 70, "gpt-5.5": 30}),
    (date(2026, 7, 12), {"gpt-5.6-sol": 60, "o3": 25, "gpt-5.5": 15}),
    (date(2026, 9, 25), {"gpt-6-sol": 75, "gpt-6-astra": 15, "gpt-5.6-sol": 10}),
    (date(2026, 11, 18), {"gpt-6.2-sol": 70, "gpt-6.2-astra": 10, "gpt-6-sol": 20}),
)
EVERYDAY: Sequence[Era] = (
    (date(2000, 1, 1), {"o4-mini": 55, "gpt-5.4-mini": 45}),
    (date(2026, 7, 14), {"gpt-5.6-terra": 60, "gpt-5.4-mini": 30, "o4-mini": 10}),
    (date(2026, 10, 28), {"gpt-6.1-terra": 70, "gpt-5.6-terra": 30}),
)
SORTING: Sequence[Era] = (
    (date(2000, 1, 1), {"gpt-5.4-nano": 80, "gpt-5-nano": 20}),
    (date(2026, 7, 31), {"gpt-5.6-luna": 90, "gpt-5.4-nano": 10}),
    (date(2026, 9, 24), {"gpt-6-luna": 100}),
)


@dataclass(frozen=True, slots=True)
class Work:
    """What a project asks of models: how much goes in and comes out, and how much of that is reasoning."""

    eras: Sequence[Era]
    input_tokens: int
    output_tokens: int
    reasoning_percent: int
    cap: int  # max_completion_tokens
    cached_percent: int = 0
    empty_per_mille: int = 4
    failed_per_mille: int = 15
    weekend_percent: int = 15  # of a weekday's calls
    batch_percent: int = 0
    prompts: Sequence[str] = ("Summarize this in three sentences.",)


@dataclass(frozen=True, slots=True)
class ProjectPlan:
    name: str
    team: str
    share: int  # of the organization's calls
    work: Work
    paused: str = ""


@dataclass(frozen=True, slots=True)
class PersonPlan:
    """A member; `sign_in` is the part of the address before the @."""

    sign_in: str
    first_name: str
    last_name: str
    role: Role
    teams: Sequence[str] = ()
    leads: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class OrganizationPlan:
    name: str
    slug: str
    paid_usd: int
    jobs_percent: int
    growth_percent: int  # over the half year
    people: Sequence[PersonPlan]
    projects: Sequence[ProjectPlan]
    teams: Sequence[str] = field(default_factory=tuple)


RESEARCH = Work(
    HARD_QUESTIONS,
    *(5200, 7800, 78, 32_000),
    cached_percent=20,
    empty_per_mille=9,
    prompts=("Find the error in this proof.", "Which of these two trial designs has more power, and why?"),
)
CODE = Work(
    HARD_QUESTIONS,
    *(14_000, 3900, 55, 16_000),
    cached_percent=55,
    prompts=("Review this diff for races.", "Write a migration that splits this table without a lock."),
)
SUPPORT = Work(
    EVERYDAY,
    *(2600, 900, 35, 4000),
    cached_percent=40,
    weekend_percent=60,
    prompts=("Answer this customer politely.", "Is this a complaint, a question or praise?"),
)
CLAIMS = Work(
    EVERYDAY,
    *(7400, 1500, 48, 6000),
    empty_per_mille=22,
    prompts=("Does the policy cover this damage? Cite the clause.",),
)
INTAKE = Work(SORTING, *(1800, 260, 20, 1000), batch_percent=35, weekend_percent=90, prompts=("Sort this letter.",))
LESSONS = Work(EVERYDAY, *(900, 1700, 42, 4000), weekend_percent=35, prompts=("Explain fractions with a pizza.",))


def _staff(*members: PersonPlan) -> tuple[PersonPlan, ...]:
    """One of each role that is not a member's, and the members."""
    return (
        PersonPlan("owner", "Ada", "Quill", Role.OWNER),
        PersonPlan("admin", "Ben", "Osei", Role.ADMIN),
        PersonPlan("finance", "Carla", "Voss", Role.BILLING),
        PersonPlan("viewer", "Dmitri", "Hale", Role.VIEWER),
        *members,
    )


ORGANIZATIONS = (
    OrganizationPlan(
        "Larkspur Instruments",
        "demo-larkspur",
        paid_usd=180,
        jobs_percent=56,
        growth_percent=70,
        teams=("Research", "Platform", "Care"),
        people=_staff(
            PersonPlan("lead", "Elin", "Marsh", Role.MEMBER, ("Research",), ("Research",)),
            PersonPlan("member", "Farid", "Noor", Role.MEMBER, ("Research", "Platform")),
            PersonPlan("platform-lead", "Grete", "Lund", Role.MEMBER, ("Platform",), ("Platform",)),
            PersonPlan("care-lead", "Hugo", "Pines", Role.MEMBER, ("Care",), ("Care",)),
        ),
        projects=(
            ProjectPlan("Protein models", "Research", 24, RESEARCH),
            ProjectPlan("Trial design", "Research", 9, RESEARCH),
            ProjectPlan("Code review", "Platform", 27, CODE),
            ProjectPlan("Migration helper", "Platform", 6, CODE, paused="Until the summer's schema is frozen."),
            ProjectPlan("Customer replies", "Care", 26, SUPPORT),
            ProjectPlan("Letter sorting", "", 8, INTAKE),
        ),
    ),
    OrganizationPlan(
        "Harbor Mutual",
        "demo-harbor",
        paid_usd=60,
        jobs_percent=34,
        growth_percent=25,
        teams=("Claims", "Mail room"),
        people=_staff(
            PersonPlan("lead", "Ines", "Rocha", Role.MEMBER, ("Claims",), ("Claims",)),
            PersonPlan("member", "Jonas", "Weir", Role.MEMBER, ("Mail room",)),
        ),
        projects=(
            ProjectPlan("Claims desk", "Claims", 45, CLAIMS),
            ProjectPlan("Letters", "Mail room", 40, INTAKE),
            ProjectPlan("Policy questions", "Claims", 15, SUPPORT),
        ),
    ),
    OrganizationPlan(
        "Fernhill School",
        "demo-fernhill",
        paid_usd=8,
        jobs_percent=10,
        growth_percent=-20,
        teams=("Teachers",),
        people=_staff(
            PersonPlan("lead", "Kiri", "Bell", Role.MEMBER, ("Teachers",), ("Teachers",)),
            PersonPlan("member", "Liam", "Ortiz", Role.MEMBER, ("Teachers",)),
        ),
        projects=(
            ProjectPlan("Lessons", "Teachers", 75, LESSONS),
            ProjectPlan("Timetable", "", 25, SUPPORT),
        ),
    ),
)
