"""Files of a person's vault that other programs read or run: none of them may be made or changed."""

from ._case import Case

_PLANT = """
import os
def plant(path, text):
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
"""


_STORE = ".trioagent/history/notes.git"


def _planted(name: str, path: str, text: str) -> Case:
    return Case(name, f"{path} is in the memory", f"{_PLANT}\nplant({path!r}, {text!r})\n")


CASES = (
    _planted("plant_git_config", ".git/config", "[core]\n\tfsmonitor = touch @OUT@/SBXPWN\n"),
    _planted("plant_git_hook", ".git/hooks/pre-commit", "#!/bin/sh\ntouch @OUT@/SBXPWN\n"),
    _planted("plant_git_in_a_folder", "entities/.git/config", "[core]\n\tfsmonitor = touch @OUT@/SBXPWN\n"),
    _planted("plant_git_file", "entities/.git", "gitdir: @OUT@\n"),
    _planted("plant_gitattributes", ".gitattributes", "*.md filter=x\n"),
    _planted(
        "plant_history_config", ".trioagent/history/notes.git/config", "[core]\n\tfsmonitor = touch @OUT@/SBXPWN\n"
    ),
    _planted("plant_history_hook", f"{_STORE}/hooks/post-rewrite", "#!/bin/sh\ntouch @OUT@/SBXPWN\n"),
    _planted("plant_history_alternates", f"{_STORE}/objects/info/alternates", "@OUT@\n"),
    _planted("plant_history_journal", ".trioagent/history/journal", "trioagent journal 1\n000000000000000001\n"),
    _planted("plant_obsidian_plugin", ".obsidian/plugins/x/main.js", "x"),
    _planted("plant_envrc", ".envrc", "touch @OUT@/SBXPWN\n"),
    _planted("plant_env", ".env", "KEY=x\n"),
    _planted("plant_shell_file", ".bashrc", "touch @OUT@/SBXPWN\n"),
    _planted("plant_editor_file", ".vimrc", "x"),
    _planted("plant_editor_folder", ".vscode/tasks.json", "{}"),
    _planted("plant_local_exrc", "entities/.exrc", "x"),
    _planted("plant_makefile", "Makefile", "all:\n\ttouch @OUT@/SBXPWN\n"),
    _planted("plant_conftest", "conftest.py", "x = 1\n"),
    _planted("plant_script", "run.sh", "#!/bin/sh\n"),
    _planted("plant_desktop_file", "x.desktop", "[Desktop Entry]\n"),
    _planted("plant_wide_dot", "\uff0egit/config.md", "x"),
    _planted("plant_unseen_character", "\u200b.git/config.md", "x"),
    Case(
        "plant_by_moving_a_folder",
        "a folder becomes .git",
        f"{_PLANT}\nplant('git/config.md', 'x')\nos.rename('git', '.git')\n",
    ),
    Case(
        "plant_executable_note",
        "a note can be run",
        f"{_PLANT}\nplant('run.md', '#!/bin/sh\\n')\nos.chmod('run.md', 0o755)\n",
    ),
)
