"""All actions that there are in a window: the one list from which its registry is filled."""

from __future__ import annotations

from app.action_sets.bookmarks import bookmark_actions
from app.action_sets.chosen import chosen_actions
from app.action_sets.console import console_actions
from app.action_sets.dumps import dump_actions
from app.action_sets.flow import flow_actions
from app.action_sets.highlights import highlight_actions
from app.action_sets.kernel_lists import kernel_list_actions
from app.action_sets.kernel_looks import kernel_look_actions
from app.action_sets.learning import learning_actions
from app.action_sets.look import look_actions
from app.action_sets.machines import machine_actions
from app.action_sets.panes import pane_actions
from app.action_sets.pixel_cpu import pixel_cpu_actions
from app.action_sets.processes import process_actions
from app.action_sets.queries import query_actions
from app.action_sets.serving import serving_actions
from app.action_sets.slices import slice_actions
from app.action_sets.sql import sql_actions
from app.action_sets.tracing import trace_actions
from app.action_sets.views import view_actions
from app.action_sets.volatility import volatility_actions
from app.action_sets.volumes import volume_actions
from app.action_sets.watching import watching_actions
from app.action_sets.window_frame import Frame
from app.action_sets.windows import window_actions
from app.actions import Action
from app.session import Session


def all_actions(session: Session, frame: Frame) -> list[Action]:
    """Return them in the order in which lists show them. `frame`: the window itself."""
    sets = (
        dump_actions,
        machine_actions,
        view_actions,
        pane_actions,
        process_actions,
        watching_actions,
        flow_actions,
        volume_actions,
        slice_actions,
        look_actions,
        chosen_actions,
        query_actions,
        bookmark_actions,
        highlight_actions,
        kernel_list_actions,
        volatility_actions,
        sql_actions,
        kernel_look_actions,
        trace_actions,
        learning_actions,
        pixel_cpu_actions,
        serving_actions,
    )
    of_sets = (action for actions in sets for action in actions(session))
    return [*of_sets, *window_actions(session, frame), *console_actions(session)]
