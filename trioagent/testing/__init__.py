"""Public helpers for testing agents: scripted models, a loopback model server, cancellation at every checkpoint, a
probe of the event loop's delay.

`trioagent.testing.fixtures` has pytest fixtures and `trioagent.testing.contract` the tests that every model must pass;
they are not imported here, since pytest is not a dependency.
"""

from ._checkpoints import cancel_at_every_checkpoint as cancel_at_every_checkpoint
from ._loop_delay import LoopDelay as LoopDelay
from ._loop_delay import probe_loop_delay as probe_loop_delay
from ._script import Fault as Fault
from ._script import Say as Say
from ._script import Wire as Wire
from ._scripted import ScriptedModel as ScriptedModel
from ._server import ModelRequest as ModelRequest
from ._server import ModelServer as ModelServer
from ._server import serve_model as serve_model
from ._server_thread import model_server as model_server
