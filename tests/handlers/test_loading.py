"""From a dotted path to handlers; what is wrong with the user's object is said at start."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from realtime_svc.errors import ConfigError
from realtime_svc.handlers import UserHandlers, load_target
from tests.handlers.fakes import Everything, fake_node


class OnlyMessages:
    """An object, not a class, and one handler."""

    def message(self, client: object, message: object) -> None: ...


class TwoEnds:
    def disconnect(self, client: object, code: int, reason: str) -> None: ...
    def close(self, client: object, code: int, reason: str) -> None: ...


class TakesTooFew:
    def rpc(self, client: object, method: str) -> None: ...


class TakesTooMany:
    def connect(self, client: object, request: object, more: object) -> None: ...


class Flexible:
    """Each of these can be called as it has to be."""

    def __init__(self, server: object = None) -> None: ...

    def connect(self, *args: object) -> None: ...

    @staticmethod
    def subscribe(client: object, channel: str) -> None: ...

    @classmethod
    def publish(cls, client: object, message: object, more: int = 0) -> None: ...

    rpc = "not a handler"
    disconnect = staticmethod(max)  # has no signature


class TakesNoServer:
    def message(self, client: object, message: object) -> None: ...


class FailsWhenMade:
    def __init__(self, server: object) -> None:
        raise KeyError("two\nlines")

    def message(self, client: object, message: object) -> None: ...


NOTHING = object()
AN_OBJECT = OnlyMessages()


class LoadTests(SynchronousTestCase):
    def test_good(self) -> None:
        self.assertIs(Flexible, load_target(f"{__name__}:Flexible"))
        self.assertIs(AN_OBJECT, load_target(f"{__name__}:AN_OBJECT"))
        self.assertIs(Everything, load_target("tests.handlers.fakes:Everything"))

    def test_bad(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "user_code_with_a_mistake.py").write_text("def (:")
        sys.path.insert(0, str(folder))
        self.addCleanup(sys.path.remove, str(folder))
        for path, reason in (
            ("no_such_module:x", "ModuleNotFoundError: No module named"),
            (f"{__name__}:nothing", "AttributeError: "),
            (f"{__name__}:OnlyMessages.nothing", "AttributeError: "),
            (f"{__name__}:NOTHING", "has none of the handlers connect, subscribe, publish, rpc, message"),
            (f"{__name__}:TwoEnds", "has disconnect and close: two names of one handler"),
            (f"{__name__}:TakesTooFew", "TakesTooFew.rpc does not take (client, method, data)"),
            (f"{__name__}:TakesTooMany", "TakesTooMany.connect does not take (client, request)"),
            (f"{__name__}:TakesNoServer", "TakesNoServer does not take the server"),
            ("user_code_with_a_mistake:x", "SyntaxError: invalid syntax"),
        ):
            failure: ConfigError = self.assertRaises(ConfigError, load_target, path)
            self.assertEqual("handlers.object", failure.key)
            self.assertIn(reason, failure.reason)
            self.assertTrue(failure.reason.isprintable(), failure.reason)

    def test_folder_is_searched_first(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "user_code_of_a_folder.py").write_text("def rpc(client, method, data): ...")
        (folder / "objects_of_a_folder.py").write_text("import user_code_of_a_folder as code")
        self.addCleanup(sys.path.remove, str(folder))
        self.assertTrue(callable(load_target("objects_of_a_folder:code", str(folder)).rpc))


class MakeTests(SynchronousTestCase):
    """When the server starts."""

    def setUp(self) -> None:
        self.node = fake_node()

    def test_class_is_called_with_the_server_and_an_object_is_taken_as_it_is(self) -> None:
        hooks = UserHandlers(Everything, self.node)
        self.assertIs(hooks.server, hooks.target.server)
        self.assertIs(AN_OBJECT, UserHandlers(AN_OBJECT, self.node).target)

    def test_object_with_a_bad_handler(self) -> None:
        """It could not be seen earlier where it was put there by the object itself."""
        failure: ConfigError = self.assertRaises(ConfigError, UserHandlers, TakesTooFew(), self.node)
        self.assertEqual("TakesTooFew.rpc does not take (client, method, data)", failure.reason)

    def test_class_that_fails(self) -> None:
        failure: ConfigError = self.assertRaises(ConfigError, UserHandlers, FailsWhenMade, self.node)
        self.assertEqual(("handlers.object", True), (failure.key, failure.reason.isprintable()))
        self.assertIn("can't make FailsWhenMade: KeyError", failure.reason)
