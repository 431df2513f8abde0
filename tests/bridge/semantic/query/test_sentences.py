"""Sentences as people say them who have read no guide: each means one query, or is answered by what to ask instead."""

from __future__ import annotations

import pytest

from bridge.semantic.query.model import NotUnderstood, Understood
from bridge.semantic.query.parser import parse, understand
from tests.bridge.semantic.query.test_parser import NAMES

SAID = {
    "what is the ssh daemon's heap": 'show heap of process "dropbear"',
    "where does nginx keep its page tables?": "show page tables of process 70",
    "who owns page 0x1234000": "show owners of address 0x1234000..0x1234fff",
    "who owns page frame 4660?": "show owners of address 0x1234000..0x1234fff",
    "show me everything dropbear has in memory": 'show process "dropbear"',
    "how big is the heap of dropbear?": 'count heap of process "dropbear"',
    "how many pages does counter use": 'count process "counter"',
    "how much memory does init take up?": 'count process "init"',
    "what's the stack of the shell": 'show stack of process "sh"',
    "whats running": "show every process",
    "list all processes": "show every process",
    "list processes": "show every process",
    "what processes are running?": "show every process",
    "show me the kernel's stacks": "show kernel stack of kernel",
    "show kernel stack of pid 2": "show kernel stack of process 2",
    "open files of the ssh daemon": 'show files of process "dropbear"',
    "what files does the shell have open": 'show files of process "sh"',
    "which files are open?": "show files of every process",
    "which files are cached?": "show every file",
    "what files are in the page cache": "show every file",
    "is /etc/passwd in memory": 'show file "/etc/passwd"',
    "where is /etc/passwd in memory?": 'show file "/etc/passwd"',
    "how much of /bin/busybox is cached?": 'count file "/bin/busybox"',
    "who has /etc/passwd open?": 'show files of every process in file "/etc/passwd"',
    "who is using libc": 'show owners of file "/lib/libc.so.6"',
    "which process has the file /tmp/journal.log mapped": 'show owners of file "/tmp/journal.log"',
    "what does counter share with allocator?": 'show memory shared between process "counter" and process "allocator"',
    "what do counter and allocator share?": 'show memory shared between process "counter" and process "allocator"',
    "shared pages of counter and allocator": 'show memory shared between process "counter" and process "allocator"',
    "memory that counter and allocator have in common": (
        'show memory shared between process "counter" and process "allocator"'
    ),
    "compare counter and allocator": 'compare process "counter" with process "allocator"',
    "compare the heap of counter to the heap of allocator": (
        'compare heap of process "counter" with heap of process "allocator"'
    ),
    "what changed in the last 10 seconds": "show everything written within 10 s",
    "what was written in the last 5 s?": "show everything written within 5 s",
    "what did the shell write just now": 'show process "sh" written within 5 s',
    "which pages has counter written during the last two seconds?": 'show process "counter" written within 2 s',
    "what has changed since 14:05": "show everything changed since 14:05:00",
    "show pages that changed since 2:05pm": "show everything changed since 14:05:00",
    "pages modified recently": "show everything written within 5 s",
    "is anything writing to the kernel's code": "show code of kernel written within 5 s",
    'find the string "password"': 'show text "password"',
    'where is the string "root:" in memory?': 'show text "root:"',
    "search for password in the heap of the ssh daemon": 'show text "password" in heap of process "dropbear"',
    'find "secret" in pid 42': 'show text "secret" in process 42',
    "find 0xdeadbeef": "show address 0xdeadbeef",
    "look for bytes de ad be ef": "show bytes de ad be ef",
    'find all occurrences of "GLASSBOX COUNTER"': 'show text "GLASSBOX COUNTER"',
    'which process contains "GLASSBOX COUNTER"': 'show text "GLASSBOX COUNTER" in every process',
    'who has the text "root:" in memory': 'show text "root:"',
    "does any process contain password": 'show text "password" in every process',
    "what is at 0xffffffff81000000": "show address 0xffffffff81000000",
    "what's at physical address 0x1000": "show address 0x1000",
    "what is stored at address 0x1000?": "show address 0x1000",
    "which process does 0x1234000 belong to": "show owners of address 0x1234000",
    "whose memory is at 0x1234000?": "show owners of address 0x1234000",
    "what is page 4660": "show address 0x1234000..0x1234fff",
    "show page 0x1234": "show address 0x1000..0x1fff",
    "address of init_task": 'show symbol "init_task"',
    "where is init_task": 'show symbol "init_task"',
    "where is the symbol schedule?": 'show symbol "schedule"',
    "what is the address of schedule": 'show symbol "schedule"',
    "virtual address 0x400000 of init": 'show address 0x400000 in process "init"',
    "0x400000 in pid 1": "show address 0x400000 in process 1",
    "translate 0x400000 of process 1": "show address 0x400000 in process 1",
    "how big is the dentry cache": 'count slab "dentry"',
    "dentry cache": 'show slab "dentry"',
    "task_struct slab": 'show slab "task_struct"',
    "show all task_structs": 'show slab "task_struct"',
    "which modules are loaded?": "show every module",
    "is virtio_net loaded": 'show module "virtio_net"',
    "where is the ext4 module": 'show module "ext4"',
    "list kernel modules": "show every module",
    "where is the kernel": "show kernel",
    "where is the kernel's code?": "show code of kernel",
    "kernel text": "show class kernel text",
    "kernel data section": "show class kernel data",
    "free pages": "show class free",
    "how much free memory is there": "count class free",
    "unused memory": "show class free",
    "hide everything that is free": "hide class free",
    "dim the page cache": "hide class file",
    "highlight all page tables": "highlight page tables of everything",
    "highlight the heap of every process": "highlight heap of every process",
    "go to the heap of counter": 'go to heap of process "counter"',
    "take me to the kernel stack of kthreadd": 'go to kernel stack of process "kthreadd"',
    "zoom to counter": 'go to process "counter"',
    "light up shared memory": "highlight class shared memory",
    "mark all anonymous memory": "highlight class anonymous",
    "count processes": "count every process",
    "count the threads of init": 'count threads of process "init"',
    "number of open sockets": "count sockets of every process",
    "which ports are open?": "show sockets of every process",
    "network connections": "show sockets of every process",
    "connections of the ssh daemon": 'show sockets of process "dropbear"',
    "children of the shell": 'show children of process "sh"',
    "threads of dropbear": 'show threads of process "dropbear"',
    "memory map of counter": 'show regions of process "counter"',
    "show the vmas of init": 'show regions of process "init"',
    "mapped files of dropbear": 'show data of process "dropbear"',
    "anonymous memory of allocator": 'show class anonymous in process "allocator"',
    "what is in the page cache of the journal": 'show class file in file "/tmp/journal.log"',
    "slab objects": "show every slab",
    "all kernel stacks of the ssh daemon": 'show kernel stack of process "dropbear"',
    "tmpfs": "show class shared memory",
    "everything": "show everything",
    "show me the whole memory": "show everything",
    "counter heap": 'show heap of process "counter"',
    "sshd heap": 'show heap of process "dropbear"',
    "pid 42 heap": "show heap of process 42",
    "init": 'show process "init"',
    "the first process": "show process 1",
    'pages of counter containing "secret"': 'show text "secret" in process "counter"',
    "which pages belong to counter": 'show process "counter"',
    "pages belonging to the ssh daemon": 'show process "dropbear"',
    "changed since 5 minutes ago": "show everything written within 300 s",
    "what changed since 5 minutes ago": "show everything written within 300 s",
    "what did process 42 change in the past 2 minutes": "show process 42 written within 120 s",
    "what was changed 10 seconds ago": "show everything written within 10 s",
    "which pages of the heap of counter were written in the last second": (
        'show heap of process "counter" written within 1 s'
    ),
    "what did the ssh daemon write to its heap in the last 3 s": 'show heap of process "dropbear" written within 3 s',
    "heap of counter written in the last 5 s": 'show heap of process "counter" written within 5 s',
    "the counter process": 'show process "counter"',
    "what is in pid 42's heap": "show heap of process 42",
    "what does the stack of init look like": 'show stack of process "init"',
    "the jiffies variable": 'show symbol "jiffies"',
    "all sockets": "show sockets of every process",
    "everything of dropbear": 'show process "dropbear"',
    "how many threads does init have": 'count threads of process "init"',
    "how many files does init have open": 'count files of process "init"',
    "how many children does init have?": 'count children of process "init"',
    "how much memory do page tables take": "count page tables of everything",
    "how much memory is used by the page cache": "count class file",
    "how much memory does the kernel use": "count kernel",
    "how much of the heap of counter is in memory": 'count heap of process "counter"',
    "kernel memory": "show kernel",
    "find me the shell": 'show process "sh"',
    "bytes 7f 45 4c 46 in the code of counter": 'show bytes 7f 45 4c 46 in code of process "counter"',
    "hex 7f454c46": "show bytes 7f 45 4c 46",
    "7f454c46": "show bytes 7f 45 4c 46",
    "0x7f454c46": "show address 0x7f454c46",
    '"root"': 'show text "root"',
    "password": 'show file "/etc/passwd"',
    "find passwords": 'show text "passwords"',
    "regex password[0-9]+": "show regex /password[0-9]+/",
    r"/[a-z]+@[a-z]+\.com/ in process 42": r"show regex /[a-z]+@[a-z]+\.com/ in process 42",
    "find the regex /foo/ in the heap of the shell": 'show regex /foo/ in heap of process "sh"',
    "what uses /etc/passwd": 'show owners of file "/etc/passwd"',
    "who maps /lib/libc.so.6?": 'show owners of file "/lib/libc.so.6"',
    "process that uses libc": 'show owners of file "/lib/libc.so.6"',
    "shared between 1 and 42": "show memory shared between process 1 and process 42",
    "memory of 1 shared with 42": "show memory shared between process 1 and process 42",
    "diff process 1 and process 42": "compare process 1 with process 42",
    "difference between the stack of init and the stack of the shell": (
        'compare stack of process "init" with stack of process "sh"'
    ),
    "go to jiffies": 'go to symbol "jiffies"',
    "goto 0x1000": "go to address 0x1000",
    "jump to pid 1": "go to process 1",
}

NOT_YET = [
    (
        "which process uses the most memory",
        "An answer has all that fits and does not choose: ask for every one, and order the results by their pages.",
        "every process",
    ),
    (
        "which file is cached the most",
        "An answer has all that fits and does not choose: ask for every one, and order the results by their pages.",
        "every process",
    ),
    (
        "which slab holds the most memory",
        "An answer has all that fits and does not choose: ask for every one, and order the results by their pages.",
        "every process",
    ),
    (
        "what is listening on port 22?",
        "Sockets are not told apart by their ports here: all of them are listed, each with its addresses.",
        "sockets of every process",
    ),
    (
        "who listens on port 22",
        "Sockets are not told apart by their ports here: all of them are listed, each with its addresses.",
        "sockets of every process",
    ),
    (
        "parent of counter",
        "Who started whom is asked the other way around, or read from the list of processes.",
        "children of process 1",
    ),
    (
        "environment of counter",
        "The environment and the arguments of a program lie at the end of its stack: look for a text there.",
        'text "PATH=" in stack of process 1',
    ),
    (
        "command line of counter",
        "The environment and the arguments of a program lie at the end of its stack: look for a text there.",
        'text "PATH=" in stack of process 1',
    ),
    (
        "libraries of dropbear",
        "Which files a process maps is told by its regions; who maps a file, by its owners.",
        "regions of process 1",
    ),
    (
        "which libraries does dropbear use?",
        "Which files a process maps is told by its regions; who maps a file, by its owners.",
        "regions of process 1",
    ),
    ("the code of busybox", 'No process here is called "busybox".', 'show text "busybox"'),
    (
        "the biggest process",
        "An answer has all that fits and does not choose: ask for every one, and order the results by their pages.",
        "every process",
    ),
    (
        "counter's heap and stack",
        "One question asks for one thing: first for the one, then for the other.",
        "memory shared between process 1 and process 2",
    ),
    (
        "heap and stack of counter",
        "One question asks for one thing: first for the one, then for the other.",
        "memory shared between process 1 and process 2",
    ),
    ("kernel heap", "There is no such thing as the heap of kernel.", "heap of process 1"),
    ("swap", "What was swapped out is not in RAM, and only RAM is looked at.", "memory of every process"),
    ("emails", 'Nothing here is called "emails".', 'show text "emails"'),
]
"""What is asked, what is said, and one of the questions that are offered."""


@pytest.mark.parametrize("text", SAID)
def test_a_sentence_means_what_a_person_would_mean_by_it(text: str) -> None:
    understood = understand(text, NAMES)
    assert isinstance(understood, Understood), understood
    assert str(understood.query) == SAID[text]
    assert parse(SAID[text]) == understood.query


@pytest.mark.parametrize(("text", "problem", "offered"), NOT_YET)
def test_what_cannot_be_asked_is_answered_by_what_can(text: str, problem: str, offered: str) -> None:
    understood = understand(text, NAMES)
    assert isinstance(understood, NotUnderstood), understood
    assert understood.problem == problem
    assert offered in understood.nearest
    for other in understood.nearest:
        assert isinstance(understand(other, NAMES), Understood)


def test_there_are_sixty_and_more() -> None:
    assert len(SAID) >= 60


@pytest.mark.parametrize(
    ("text", "assumed"),
    [
        ("what is page 4660", "4660 is taken for the number of a page frame."),
        ("7f454c46", "7f454c46 is taken for bytes, in this order."),
        ("show page 0x1234", None),
        ("does any process contain password", None),
    ],
)
def test_what_was_taken_for_what_is_said(text: str, assumed: str | None) -> None:
    understood = understand(text, NAMES)
    assert isinstance(understood, Understood)
    assert understood.assumed == (() if assumed is None else (assumed,))


@pytest.mark.parametrize(
    ("said", "meant"), [("12:00am", "00:00:00"), ("12:30 pm", "12:30:00"), ("2:05:10 pm", "14:05:10")]
)
def test_hours_may_be_those_of_half_a_day(said: str, meant: str) -> None:
    understood = understand(f"changed since {said}", NAMES)
    assert isinstance(understood, Understood)
    assert str(understood.query) == f"show everything changed since {meant}"
    refused = understand("changed since 13:00 pm", NAMES)
    assert isinstance(refused, NotUnderstood)
    assert "2:05 pm" in refused.problem
