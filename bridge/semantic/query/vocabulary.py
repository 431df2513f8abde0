"""Vocabulary: which words mean what. To teach the language a word, add it to a table here; the parser needs no change.

Words are in lower case, and a phrase of several words is tried before its first word alone. A word in quotes is never
looked up here: `process "heap"` is a process of that name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from bridge.semantic.query.model import Kind, Relation, Verb

VERBS: dict[Verb, str] = {
    Verb.SHOW: "show | show me | display | list | give me | tell me | print | see | let me see | what is | "
    "what are | "
    "which are | which is | where is | where are | inspect | view | translate | whats | wheres",
    Verb.HIGHLIGHT: "highlight | light up | mark | outline | colour | color",
    Verb.HIDE: "hide | dim | leave out | without | remove | exclude",
    Verb.COUNT: "count | how many | how much | number of | how big is | how big are | how large is | how large are | "
    "size of | how many pages | total",
    Verb.COMPARE: "compare | diff | difference between | what is the difference between | differences between",
    Verb.GO_TO: "go to | goto | jump to | fly to | take me to | zoom to | focus on | go",
}
SEARCH_VERBS = "find | search | search for | look for | grep | grep for | locate | where does | scan for"
"""They show, and take a word that names nothing for a text to look for."""

RELATIONS: dict[Relation, str] = {
    Relation.MEMORY: "memory | pages | page | ram | rss | resident memory | footprint | memory pages | resident pages",
    Relation.HEAP: "heap | heaps | brk | malloc | malloc memory | heap memory | heap pages",
    Relation.STACK: "stack | stacks | user stack | user stacks | stack memory | stack pages",
    Relation.CODE: "code | text | text segment | text section | program code | executable code | code pages | "
    "code segment | instructions",
    Relation.DATA: "data | data segment | file data | mapped files | mapped data",
    Relation.OTHER: "other memory | anonymous mappings | mmaps | mmapped memory",
    Relation.REGIONS: "regions | region | mappings | maps | memory map | memory maps | vmas | vma | address space | "
    "memory regions | memory layout",
    Relation.KERNEL_STACK: "kernel stack | kernel stacks | kstack | kstacks",
    Relation.PAGE_TABLES: "page tables | page table | pagetables | pagetable | page-tables | page directory | ptes | "
    "paging structures | page table pages",
    Relation.THREADS: "threads | thread | tasks",
    Relation.CHILDREN: "children | child | child processes | subprocesses | descendants | processes started by | "
    "programs started by",
    Relation.FILES: "files | open files | file descriptors | descriptors | fds | opened files | file handles",
    Relation.SOCKETS: "sockets | socket | connections | connection | ports | open ports | listening sockets | "
    "network connections | open sockets | who is listening | who listens | what is listening | listeners | "
    "listening ports",
}
OWNERS = (
    "owners of | owner of | owners | owner | who owns | who own | who maps | who uses | who has mapped | "
    "which process owns | which processes own | which process maps | which processes map | which processes use | "
    "which process uses | processes mapping | processes that map | processes using | process that owns | users of | "
    "whose is | whose page is | whose memory is | whose memory is at | belongs to whom | mapped by whom | "
    "who is using | process that uses | process that maps | process using | process mapping | programs using | "
    "what uses | what maps | which process does | which processes does"
)
SHARED = (
    "shared between | shared by | shared with | shared among | in common between | in common with | common to | "
    "share | "
    "shares | shared | memory shared between | memory shared by | memory shared with | sharing | in common | "
    "shared memory of | shared memory between | shared pages | common pages | common memory"
)

KINDS: dict[Kind, str] = {
    Kind.PROCESS: "process | pid | program | task | proc | daemon | application | app | command",
    Kind.FILE: "file | path | library | shared library | cached file",
    Kind.MODULE: "module | kernel module | driver",
    Kind.SLAB: "slab | slab cache | kmem cache | kmem_cache | slab objects | cache of",
    Kind.SYMBOL: "symbol | kernel symbol | variable | kernel variable | function | kernel function | symbols",
    Kind.CLASS: "class | page class | pages of class | class of pages",
    Kind.ADDRESS: "address | physical address | virtual address | paddr | vaddr | pointer | byte at | range | at | "
    "what is at | what lies at | address range | bytes at",
    Kind.BYTES: "bytes | hex | hex bytes | byte sequence | byte pattern",
    Kind.TEXT: "text | string | strings | the text | the string | containing | that contain | that contains | "
    "containing text | containing the text | containing the string | which contain | with the text | word",
    Kind.REGEX: "regex | regexp | regular expression | matching | that match | pattern | matching regex",
    Kind.YARA: "yara | yara rule | yara rules | matching yara | rule",
    Kind.KERNEL: "kernel | linux",
    Kind.EVERYTHING: "everything | all memory | all of memory | whole memory | the whole memory | all ram | "
    "all pages | "
    "any memory | anything | every page | whole ram | the machine | total memory",
}
PLURALS: dict[Kind, str] = {
    Kind.PROCESS: "processes | programs | tasks running | running processes | all processes | procs | ps | pids | "
    "what is running | whats running | what runs",
    Kind.FILE: "cached files | page cache files | files in memory | files in the page cache | files are cached | "
    "files are in memory | files are in the page cache",
    Kind.MODULE: "modules | kernel modules | drivers | loaded modules | lsmod",
    Kind.SLAB: "slabs | slab caches | kmem caches | slabinfo",
}
EVERY = "every | all | each | any | all the | all of the | every single"

CLASSES: dict[str, str] = {
    "free": "free | free memory | unused memory | unused pages | unused | available memory | free pages | free ram",
    "free per cpu": "free per cpu | free per-cpu | per-cpu free lists | pcp | pages kept by a cpu",
    "kernel text": "kernel code | kernel text | code of the kernel | kernel code section | kernel text section",
    "kernel rodata": "kernel constants | kernel rodata | read-only kernel data | rodata",
    "kernel data": "kernel data | data of the kernel | kernel variables | kernel data section",
    "kernel bss": "kernel bss | bss | kernel zeroed data",
    "module": "module memory | module pages | module code",
    "per cpu": "per cpu | per-cpu | per-cpu data | percpu | percpu data | per cpu data",
    "vmemmap": "vmemmap | page records | struct pages | memmap | struct page | page structs",
    "slab": "slab memory | slab pages | kernel objects | kmalloc memory",
    "kernel stack": "kernel stack pages",
    "page table": "page table memory",
    "vmalloc": "vmalloc | vmalloc memory | vmalloced memory",
    "anonymous": "anonymous | anonymous memory | anon | anon memory | anonymous pages",
    "file": "page cache | file pages | file cache | cached pages | file memory | pagecache | buff/cache",
    "shared memory": "shared memory | shmem | tmpfs | tmpfs pages | shm | shared memory pages",
    "kernel pages": "kernel pages | kernel own pages | large kmalloc",
    "reserved": "reserved | reserved memory | reserved pages",
    "hole": "holes | hole | no memory | memory holes",
    "unknown": "unknown | unknown pages | unknown memory | unclassified",
}

ROLES: dict[str, tuple[str, ...]] = {
    "ssh daemon | ssh server | ssh | sshd | secure shell | secure shell daemon": ("sshd", "dropbear"),
    "web server | http server | httpd | webserver | www server": (
        "nginx",
        "apache2",
        "httpd",
        "lighttpd",
        "caddy",
        "thttpd",
        "h2o",
    ),
    "shell | shells | login shell | command line | the shell | terminal": (
        "bash",
        "sh",
        "ash",
        "dash",
        "zsh",
        "fish",
        "ksh",
    ),
    "database | database server | db | sql server | db server": (
        "postgres",
        "mysqld",
        "mariadbd",
        "mongod",
        "redis-server",
        "sqlite3",
    ),
    "name server | dns server | dns resolver | resolver": ("systemd-resolve", "named", "unbound", "dnsmasq"),
    "dhcp client | dhcp": ("udhcpc", "dhclient", "dhcpcd", "systemd-network"),
    "log daemon | logger | syslog | syslog daemon | logging daemon | journal daemon": (
        "systemd-journal",
        "rsyslogd",
        "syslogd",
        "syslog-ng",
        "klogd",
    ),
    "cron | cron daemon | job scheduler": ("cron", "crond", "atd"),
    "time daemon | ntp daemon | ntp | time server": ("chronyd", "ntpd", "systemd-timesyn"),
    "container runtime | docker | container daemon": ("dockerd", "containerd", "podman", "crio"),
    "mail server | mail daemon | smtp server": ("master", "exim4", "sendmail", "opensmtpd"),
    "print server | print daemon": ("cupsd",),
    "display server | x server | window system": ("Xorg", "Xwayland", "gnome-shell", "weston"),
    "browser | web browser": ("firefox", "chrome", "chromium", "epiphany"),
    "editor | text editor": ("vim", "vi", "nano", "emacs"),
    "device manager | device daemon | udev": ("systemd-udevd", "udevd", "mdev"),
    "login manager | login": ("login", "systemd-logind", "agetty", "getty"),
    "swap daemon | page reclaimer | memory reclaimer": ("kswapd0",),
    "kernel thread daemon | thread creator": ("kthreadd",),
    "hypervisor": ("qemu-system-x86",),
    "ftp server | ftp daemon": ("vsftpd", "proftpd", "ftpd"),
    "message bus | dbus": ("dbus-daemon", "dbus-broker"),
}
"""What people call a program by what it does, and the names that it may have, the likeliest first."""
HAVING = "who has | who have | which process has | which processes have | which program has"
"""Whose something is, where it stands between: `who has /etc/passwd open`."""
INIT = "init | init process | first process | the init process | pid one"
"""Process 1, whatever it is called."""

WITH = "with | against | versus | vs | and | to | from"
BETWEEN = "between | by | among"
OF = "of | from | for | by | belonging to | owned by | used by | held by | in use by | mapped by"
STOP = (
    "is there | are there | me | the | a | an | please | is | are | was | were | do | does | did | has | have | "
    "had | it | its | their | there | "
    "that | which | what | who | whose | now | currently | right now | at the moment | in memory | in ram | own | "
    "this | "
    "these | those | be | being | been | can | could | you | i | we | my | my own | used | use | uses | using | "
    "guest | of it | named | called | with name | with the name | with pid | running | belong | belongs | "
    "live | loaded | open | opened | held | hold | holds | holding | stored | kept | lie | lies | mapped | take | "
    "takes | "
    "taken | occupied | occupy | occupies | just | out | on screen | exactly | still | listening | where | how | "
    "physical | virtual | resident | exist | exists | works | any of | keep | keeps | cached | up | "
    "look like | looks like | belong to | belongs to | occurrences of | instances of | is anything | is anyone | "
    "is anybody | does anything"
)
"""Words that change nothing."""
WRITING = "write | writes | wrote | written | writing | change | changes | changed | changing | modify | modified | "
WRITING += "modifies | dirty | dirtied | touched | touch | updated | update | altered"
IGNORING_CASE = "ignoring case | ignore case | case insensitive | case-insensitive | in any case | case insensitively"


class Concept(Enum):
    """What a phrase does in a question."""

    VERB = auto()
    SEARCH = auto()
    RELATION = auto()
    OWNERS = auto()
    SHARED = auto()
    KIND = auto()
    PLURAL = auto()
    EVERY = auto()
    CLASS = auto()
    ROLE = auto()
    INIT = auto()
    HAVING = auto()
    OF = auto()
    WITH = auto()
    BETWEEN = auto()
    IGNORING_CASE = auto()
    STOP = auto()


@dataclass(frozen=True, slots=True)
class Meaning:
    """One thing that a phrase can mean."""

    concept: Concept
    value: Verb | Relation | Kind | str | tuple[str, ...] | None = None


def phrases_of(line: str) -> list[str]:
    """The phrases of a line of a table."""
    return [" ".join(phrase.split()) for phrase in line.split("|") if phrase.strip()]


def _table() -> dict[tuple[str, ...], tuple[Meaning, ...]]:
    found: dict[tuple[str, ...], list[Meaning]] = {}

    def put(line: str, meaning: Meaning) -> None:
        for phrase in phrases_of(line):
            found.setdefault(tuple(phrase.split()), []).append(meaning)

    for verb, line in VERBS.items():
        put(line, Meaning(Concept.VERB, verb))
    put(SEARCH_VERBS, Meaning(Concept.SEARCH, Verb.SHOW))
    for relation, line in RELATIONS.items():
        put(line, Meaning(Concept.RELATION, relation))
    for kind, line in KINDS.items():
        put(line, Meaning(Concept.KIND, kind))
    for kind, line in PLURALS.items():
        put(line, Meaning(Concept.PLURAL, kind))
    for name, line in CLASSES.items():
        put(line, Meaning(Concept.CLASS, name))
    for line, names in ROLES.items():
        put(line, Meaning(Concept.ROLE, names))
    for line, concept in (
        (OWNERS, Concept.OWNERS),
        (SHARED, Concept.SHARED),
        (EVERY, Concept.EVERY),
        (INIT, Concept.INIT),
        (HAVING, Concept.HAVING),
        (WITH, Concept.WITH),
        (BETWEEN, Concept.BETWEEN),
        (OF, Concept.OF),
        (IGNORING_CASE, Concept.IGNORING_CASE),
        (STOP, Concept.STOP),
    ):
        put(line, Meaning(concept))
    return {words: tuple(meanings) for words, meanings in found.items()}


PHRASES: dict[tuple[str, ...], tuple[Meaning, ...]] = _table()
"""Words of a phrase -> what it can mean."""
LONGEST = max(map(len, PHRASES))
