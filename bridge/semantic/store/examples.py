"""Examples: what people ask, as SQL; the panel offers them, the guide shows them, tests hold them to /proc."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Example:
    """A question and how it is asked."""

    title: str
    sql: str


EXAMPLES: tuple[Example, ...] = (
    Example(
        "Processes by memory",
        """\
SELECT pid, name, command_line, resident_bytes, n_threads
FROM now_processes
WHERE NOT is_kernel
ORDER BY resident_bytes DESC""",
    ),
    Example(
        "Heaps and stacks",
        """\
SELECT p.name, r.pid, r.path, r.start_uaddr, r.end_uaddr, r.resident_bytes
FROM now_regions r JOIN now_processes p USING (machine_id, pid)
WHERE r.path IN ('[heap]', '[stack]')
ORDER BY r.resident_bytes DESC""",
    ),
    Example(
        "Files that are mapped, and by how many",
        """\
SELECT path, count(DISTINCT pid) AS n_processes, sum(resident_bytes) AS resident_bytes
FROM now_regions
WHERE path LIKE '/%'
GROUP BY path
ORDER BY resident_bytes DESC""",
    ),
    Example(
        "Who listens",
        """\
SELECT p.name, s.pid, s.descriptor, s.protocol, s.local
FROM now_sockets s JOIN now_processes p USING (machine_id, pid)
WHERE s.state = 'LISTEN'
ORDER BY s.pid""",
    ),
    Example(
        "Open files",
        """\
SELECT p.name, f.pid, f.descriptor, f.mode, f.kind, f.path
FROM now_files f JOIN now_processes p USING (machine_id, pid)
ORDER BY f.pid, f.descriptor""",
    ),
    Example(
        "The process tree",
        """\
WITH RECURSIVE tree (machine_id, pid, name, depth, place) AS (
  SELECT machine_id, pid, name, 0, hex64(pid) FROM now_processes WHERE parent_pid = 0
  UNION ALL
  SELECT p.machine_id, p.pid, p.name, depth + 1, place || '/' || hex64(p.pid)
  FROM now_processes p JOIN tree t ON p.machine_id = t.machine_id AND p.parent_pid = t.pid
)
SELECT substr('                    ', 1, 2 * depth) || name AS process, pid, depth
FROM tree
ORDER BY place""",
    ),
    Example(
        "What memory is used for",
        """\
SELECT class, n_pages, size_bytes
FROM now_page_classes
ORDER BY n_pages DESC""",
    ),
    Example(
        "The page cache, file by file",
        """\
SELECT subject AS path, sum(n_pages) AS n_pages, 4096 * sum(n_pages) AS size_bytes
FROM pages
WHERE subject_kind = 'file'
GROUP BY subject
ORDER BY n_pages DESC""",
    ),
    Example(
        "Pages that processes share",
        """\
SELECT first_paddr, n_pages, n_mappings, class, subject
FROM pages
WHERE n_mappings > 1
ORDER BY n_mappings DESC, first_paddr""",
    ),
    Example(
        "Where in RAM each process's task_struct lies",
        """\
SELECT p.pid, p.name, p.task_vaddr, p.task_paddr, g.class, g.subject
FROM now_processes p JOIN pages g
  ON g.machine_id = p.machine_id
  AND g.first_paddr = (SELECT max(first_paddr) FROM page_runs
                       WHERE machine_id = p.machine_id AND first_paddr <= p.task_paddr)
ORDER BY p.pid""",
    ),
    Example(
        "Symbols, virtual and physical",
        """\
SELECT s.name, s.type, s.vaddr, s.paddr, g.class
FROM now_symbols s JOIN pages g
  ON g.machine_id = s.machine_id AND s.paddr >= g.first_paddr AND s.paddr < g.end_paddr
WHERE s.name IN ('linux_banner', 'init_task', 'schedule', 'init_top_pgt')
ORDER BY s.name""",
    ),
    Example(
        "What processes did in the last minute",
        """\
SELECT datetime(valid_from, 'unixepoch') AS since, datetime(valid_to, 'unixepoch') AS until, pid, name, state
FROM processes
WHERE coalesce(valid_to, valid_from) > (SELECT max(time_s) FROM snapshots) - 60
ORDER BY valid_from DESC, pid""",
    ),
)
