"""Questions as people put them mean what they say; what means nothing is answered by a sentence."""

from __future__ import annotations

import time

import pytest

from bridge.semantic.query.model import BadQuery, NotUnderstood, Understood
from bridge.semantic.query.names import NO_NAMES, Names, ProcessName
from bridge.semantic.query.nearest import EXAMPLES
from bridge.semantic.query.parser import parse, understand

SYMBOLS = {"jiffies": 0xFFFF_FFFF_82A0_0000, "init_task": 0xFFFF_FFFF_82A1_0000, "schedule": 0xFFFF_FFFF_8100_0000}
NAMES = Names(
    processes=(
        ProcessName(1, "init", "/init"),
        ProcessName(2, "kthreadd"),
        ProcessName(42, "counter", "/bin/counter"),
        ProcessName(50, "dropbear", "/bin/dropbear -F"),
        ProcessName(60, "sh", "/bin/sh"),
        ProcessName(61, "allocator"),
        ProcessName(70, "main", "/usr/sbin/nginx -g daemon"),
        ProcessName(71, "heap"),
        ProcessName(72, '"; DROP TABLE'),
    ),
    files=("/bin/busybox", "/lib/libc.so.6", "/tmp/journal.log", "/etc/passwd"),
    modules=("virtio_net", "ext4"),
    slabs=("dentry", "inode_cache", "task_struct", "ext4"),
    machines=("Demo",),
    find_symbol=SYMBOLS.get,
    symbols=lambda text, limit: [name for name in SYMBOLS if text in name][:limit],
)

MEANT = {
    "show me the SSH daemon's heap": 'show heap of process "dropbear"',
    "sshd": 'show process "dropbear"',
    "which pages did PID 42 write in the last 5 s": "show process 42 written within 5 s",
    "which pages did pid 42 write": "show process 42 written within 5 s",
    "kernel stacks": "show kernel stack of every process",
    "page tables of counter": 'show page tables of process "counter"',
    "the counter's page tables": 'show page tables of process "counter"',
    "page tables of the web server": "show page tables of process 70",
    "nginx": "show process 70",
    "78 56 34 12": "show bytes 78 56 34 12",
    "bytes de?d beef": "show bytes de ?d be ef",
    "bytes 0x78 0x56": "show bytes 78 56",
    "bytes 0x12345678": "show bytes 78 56 34 12",
    "bytes 0xffffffff81000000": "show bytes 00 00 00 81 ff ff ff ff",
    "bytes 0x78": "show bytes 78",
    "78 5? ?6 12": "show bytes 78 5? ?6 12",
    "how much memory is free?": "count class free",
    "how much memory does the SSH daemon use?": 'count process "dropbear"',
    "how many processes are there?": "count every process",
    "what is at 0x1234?": "show address 0x1234",
    "64 bytes at 0x1000": "show address 0x1000..0x103f",
    "0x1000-0x2000": "show address 0x1000..0x1fff",
    "0x1000+0x10": "show address 0x1000..0x100f",
    "0x1000 2 pages": "show address 0x1000..0x2fff",
    "pfn 42": "show address 0x2a000..0x2afff",
    "ffff888000001000": "show address 0xffff888000001000",
    "7c00h": "show address 0x7c00",
    "address of jiffies": 'show symbol "jiffies"',
    "where is jiffies?": 'show symbol "jiffies"',
    "0x7f00 in counter": 'show address 0x7f00 in process "counter"',
    "0x7f00 of process 42": "show address 0x7f00 in process 42",
    "who owns 0xffff888000001000?": "show owners of address 0xffff888000001000",
    "which process maps /etc/passwd": 'show owners of file "/etc/passwd"',
    "who uses libc?": 'show owners of file "/lib/libc.so.6"',
    "files of PID 1": "show files of process 1",
    "files": "show every file",
    "open files": "show files of every process",
    "files in process 1": "show files of process 1",
    "compare heap of counter with heap of allocator": (
        'compare heap of process "counter" with heap of process "allocator"'
    ),
    "compare the heaps of counter and allocator": 'compare heap of process "counter" with heap of process "allocator"',
    "compare heap of counter with memory of sh": 'compare heap of process "counter" with memory of process "sh"',
    "what is the difference between counter and sh": 'compare process "counter" with process "sh"',
    "pages shared between counter and init": 'show memory shared between process "counter" and process "init"',
    "what does counter share with init?": 'show memory shared between process "counter" and process "init"',
    'text "root:"': 'show text "root:"',
    "text root: ignoring case": 'show text "root:" ignoring case',
    "text of counter": 'show code of process "counter"',
    "pages that contain 'secret' in the heap of allocator": 'show text "secret" in heap of process "allocator"',
    "search for password in counter": 'show text "password" in process "counter"',
    "find counter": 'show process "counter"',
    "regex /root:.*/": "show regex /root:.*/",
    "/ro+t:[0-9]*/i": "show regex /ro+t:[0-9]*/ ignoring case",
    r"matching /a\/b/": r"show regex /a\/b/",
    "yara rules.yar": 'show yara "rules.yar"',
    'yara "rule a { condition: true }"': 'show yara "rule a { condition: true }"',
    "slab dentry": 'show slab "dentry"',
    "ext4": 'show module "ext4"',
    "virtio-net": 'show module "virtio_net"',
    "symbol jiffies": 'show symbol "jiffies"',
    "dropber": 'show process "dropbear"',
    "SHOW HEAP OF DROPBEAR": 'show heap of process "dropbear"',
    'process "heap"': 'show process "heap"',
    'process "; DROP TABLE"': 'show process "; DROP TABLE"',
    r'"\"; DROP TABLE"': r'show process "\"; DROP TABLE"',
    "count pages of class slab": "count class slab",
    "class free_per_cpu": "show class free per cpu",
    "page cache of /etc/passwd": 'show class file in file "/etc/passwd"',
    "what did the ssh daemon write in the last minute": 'show process "dropbear" written within 60 s',
    "what changed in the past half a minute": "show everything written within 30 s",
    "pages of counter written 500 ms ago": 'show process "counter" written within 0.5 s',
    "counter, written within 1.5s": 'show process "counter" written within 1.5 s',
    "changed since 9:05": "show everything changed since 09:05:00",
    "pages of counter changed since 14:05:10": 'show process "counter" changed since 14:05:10',
    "go to the stack of init": 'go to stack of process "init"',
    "hide free memory": "hide class free",
    "highlight page cache": "highlight class file",
    "the kernel's page tables": "show page tables of kernel",
    "page tables": "show page tables of everything",
    "kernel code": "show class kernel text",
    "memory of the shell": 'show process "sh"',
    "init's children": 'show children of process "init"',
    "threads": "show threads of every process",
    "every heap": "show heap of every process",
    "modules": "show every module",
    "slabs": "show every slab",
    "who is listening?": "show sockets of every process",
    "42's stack": "show stack of process 42",
    "everything on demo": 'show everything on "Demo"',
    'heap of process 1 on "other"': 'show heap of process 1 on "other"',
}


@pytest.mark.parametrize("text", MEANT)
def test_a_question_means_what_it_says(text: str) -> None:
    understood = understand(text, NAMES)
    assert isinstance(understood, Understood), understood
    assert str(understood.query) == MEANT[text]
    assert parse(MEANT[text]) == understood.query


@pytest.mark.parametrize(
    ("text", "assumed"),
    [
        ("sshd", ('"sshd" is taken for the process dropbear.',)),
        ("dropber", ('"dropber" is taken for the process dropbear.',)),
        ("web server", ('"web server" is taken for process 70, main.',)),
        ("ext4", ('"ext4" is taken for the module of that name, not the slab.',)),
        ("42", ("42 is taken for the number of a process.",)),
        ("what did counter write", ("No time was said: the last 5 s are meant.",)),
        ("grep root:", ('"root:" names nothing: it is taken for a text to look for.',)),
        ("counter", ()),
        ('process "counter"', ()),
    ],
)
def test_what_was_assumed_is_said(text: str, assumed: tuple[str, ...]) -> None:
    understood = understand(text, NAMES)
    assert isinstance(understood, Understood)
    assert understood.assumed == assumed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Nothing is asked."),
        (" \n\t ", "Nothing is asked."),
        ("?!", "Nothing is asked."),
        ("x" * 10_001, "10,000 characters at most, and this one has 10,001."),
        ("word " * 300, "200 words at most, and this one has 300."),
        ('text "root:', 'The quote " at character 6 is not closed.'),
        ("regex /root", "The slash at character 7 is not closed."),
        ('"; DROP TABLE processes', 'The quote " at character 1 is not closed.'),
        ('text ""', "Which text?"),
        ('process ""', "stands nothing"),
        ("heap of nobodyatall", 'No process here is called "nobodyatall".'),
        ("heap of /etc/passwd", "no such thing as the heap of file"),
        ("the mail server", "No mail server (master, exim4, sendmail, opensmtpd) runs in this machine now."),
        ("children", "Whose children?"),
        ("memory shared between counter", "shares memory with whom?"),
        ("memory shared between counter and slab dentry", "not with slab"),
        ("compare counter", "Two things are compared"),
        ("compare", "Two things are compared"),
        ("process 99999999", "No process has the number 99999999."),
        ("0x2000-0x1000", "ends before it begins"),
        ("0xfffffffffffffffff", "There are no 1 bytes at"),
        ("pages written in the last 100000 s", "for a day at most"),
        ("class purple", "Which class of pages?"),
        ("bytes zz", "Which bytes?"),
        ("bytes ??", "?"),
        ("symbol", "Which symbol?"),
        ("what is at", "Which address?"),
        ("show", "Of what?"),
        ("counter allocator", '"allocator" is not understood here.'),
        ("counter in", "is not understood here"),
        ("stop the machine", "Nothing here is called"),
        ("SELECT * FROM processes", "Nothing here is called"),
    ],
)
def test_what_means_nothing_is_answered_by_a_sentence(text: str, said: str) -> None:
    understood = understand(text, NAMES)
    assert isinstance(understood, NotUnderstood), understood
    assert said in understood.problem
    assert understood.problem.isprintable()
    for attempt in understood.nearest:
        assert isinstance(understand(attempt, NAMES), Understood)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("haep of sshd", 'show heap of process "dropbear"'),
        ("proccess 1", "show process 1"),
        ("page tabels of sshd", 'show page tables of process "dropbear"'),
        ("writen in the last 5 s", "show everything written within 5 s"),
        ("kernal stacks", "show kernel stack of every process"),
        ("open flies of sshd", 'show files of process "dropbear"'),
        ("sokcets of every process", "show sockets of every process"),
        (
            "heap of bogus",
            "heap of process 1",
        ),  # nothing is misspelt; the question is offered of something that is there
    ],
)
def test_a_misspelt_word_is_offered_as_it_is_written(text: str, meant: str) -> None:
    understood = understand(text, NAMES)
    assert isinstance(understood, NotUnderstood)
    assert understood.nearest[0] == meant
    assert isinstance(understand(meant, NAMES), Understood)


def test_a_word_alone_is_offered_as_a_text_to_look_for_first() -> None:
    understood = understand("xyzzy", NAMES)
    assert isinstance(understood, NotUnderstood)
    assert understood.nearest[0] == 'show text "xyzzy"'


def test_the_nearest_names_are_offered_in_the_same_question() -> None:
    understood = understand("page tables of contre", NAMES)
    assert isinstance(understood, NotUnderstood)
    assert understood.nearest[0] == 'show page tables of process "counter"'


def test_examples_can_be_asked_of_any_machine() -> None:
    for example in EXAMPLES:
        assert parse(example)
    with pytest.raises(BadQuery, match="Nothing is asked"):
        parse("")


def test_names_are_believed_where_none_are_known() -> None:
    assert str(parse("heap of process nginx")) == 'show heap of process "nginx"'
    assert str(parse("symbol jiffies")) == 'show symbol "jiffies"'
    assert str(parse("the SSH daemon")) == 'show process "sshd"'
    assert isinstance(understand("nginx", NO_NAMES), NotUnderstood)


def test_long_texts_of_any_kind_take_no_time() -> None:
    """Square in the number of words at most, and those are few: no text can hold the window up."""
    began = time.process_time()
    for piece in ("/ ", "'", '"a" ', "in ", "and ", "heap of ", "0x1-", "\\", "78 ", "process ", "compare with "):
        understand((piece * 10_000)[:10_000], NAMES)
        understand((piece * 10_000)[: 190 * len(piece)], NAMES)
    assert time.process_time() - began < 60
