"""What a bundle's manifest, hashes and signature keep out, and that a served bundle is what was loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handler.__main__ import main
from handler.app import App
from handler.errors import BundleError
from handler.manifest import DESCRIPTION, FORMAT, LEFT_OUT, Manifest, content_version
from handler.manifest_rules import parsed
from handler.scoring import checking
from handler.scoring.model import Model
from handler.settings import Settings
from handler.web.messages import Request
from tests.support.bundles import copied, mixed_rows, quiet, resealed, trained
from tests.support.serving import free_port
from tests.support.strategies import mutated
from training.data import sample
from training.train import Options, train

FORMAT_1 = Path(__file__).resolve().parents[1] / "manifests" / "format-1.json"
Edit = Callable[[Any], object]


def edited(bundle: Path, folder: Path, change: Edit) -> Path:
    """A copy of the bundle whose manifest was changed by hand."""
    document = json.loads((copied(bundle, folder) / "model.json").read_text())
    change(document)
    (folder / "model.json").write_text(json.dumps(document))
    return folder


def put(*path: str | int, value: Any) -> Edit:
    """An edit that sets the value at ``path``."""

    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


def drop(*path: str | int) -> Edit:
    """An edit that removes what stands at ``path``."""

    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


# What an edit does that leaves a well-formed manifest


@pytest.mark.parametrize(
    "change",
    [
        put("version", value="0123456789ab"),
        put("name", value="other"),
        put("target", value="other"),
        lambda document: document["classes"].reverse(),
        lambda document: document["features"].reverse(),
        put("features", 0, "kind", value="number"),
        put("features", 0, "nullable", value=True),
        put("features", 0, "maximum", value=99.0),
        put("features", 0, "fed_as", value="float32"),
        put("rows_as", value="array"),
        put("threshold", value=0.25),
        drop("threshold"),
        put("ids", value=["customer"]),
        put("engines", "one", value="onnx"),
        put("parity", "tolerance", value=0.5),
        put("parity", "note", value="fine"),
        put("libraries", "numpy", value="1.0"),
        lambda document: document["golden"].pop(),
        put("golden", 0, "probabilities", value={"0": 0.5, "1": 0.5}),
        put("files", "model.onnx", value="0" * 64),
        put("format", value=1),
    ],
)
def test_an_edited_manifest_is_refused_with_both_versions(
    change: Edit, bundle_dir: Path, tmp_path: Path
) -> None:
    version = json.loads((bundle_dir / "model.json").read_text())["version"]
    folder = edited(bundle_dir, tmp_path, change)
    said = json.loads((folder / "model.json").read_text())["version"]
    with pytest.raises(BundleError, match="changed after training") as refused:
        Model.load(folder)
    assert {version, said} & set(str(refused.value).split("'"))
    assert said in str(refused.value)


@pytest.mark.parametrize("key", sorted(DESCRIPTION - {"version"}))
def test_a_mere_description_is_not_part_of_the_version(key: str, bundle_dir: Path, tmp_path: Path) -> None:
    value = "2026-01-01T00:00:00+00:00" if key == "created" else {"note": "edited"}
    assert checking.differences(Model.load(edited(bundle_dir, tmp_path, put(key, value=value)))) == []


def test_the_version_is_over_every_other_key(bundle_dir: Path) -> None:
    document = json.loads((bundle_dir / "model.json").read_text())
    assert set(document) == set(Manifest._fields) - set(LEFT_OUT) | {"explanation", "profile"}
    for key in document.keys() - DESCRIPTION - {"format"}:
        with pytest.raises(BundleError):
            parsed({**document, key: {"another": "value"}})


# Malformed manifests


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (put("files", value=None), "'files'"),
        (put("files", "model.onnx", value=1), "'files'"),
        (drop("files"), "'files'"),
        (put("golden", value=[]), "'golden'"),
        (drop("golden"), "'golden'"),
        (put("golden", 1, value=None), "'golden[1]'"),
        (drop("golden", 1, "record"), "'golden[1].record'"),
        (put("golden", 1, "prediction", value=2), "'golden[1].prediction'"),
        (put("golden", 1, "prediction", value=True), "'golden[1].prediction'"),
        (put("golden", 1, "probabilities", value={"0": 1.0}), "'golden[1].probabilities'"),
        (drop("golden", 1, "probabilities"), "'golden'"),
        (put("features", value=[]), "'features'"),
        (put("features", 1, value="age"), "'features[1]'"),
        (put("features", 1, "kind", value="texts"), "'features[1].kind'"),
        (put("features", 1, "kind", value=[]), "'features[1].kind'"),
        (put("features", 1, "nullable", value=0), "'features[1].nullable'"),
        (put("features", 1, "minimum", value=float("nan")), "'features[1].minimum'"),
        (put("features", 1, "categories", value="abc"), "'features[1].categories'"),
        (put("features", 1, "fed_as", value="nan"), "'features[1].fed_as'"),
        (put("features", 1, "fed_as", value=None), "'features[1].fed_as'"),
        (put("features", 1, "format", value=None), "'features[1].format'"),
        (put("features", 1, "format", value="1,234,5"), "'features[1].format'"),
        (put("features", 1, "missing_words", value="na"), "'features[1].missing_words'"),
        (put("features", 1, "missing_words", value=["NA"]), "'features[1].missing_words'"),
        (put("features", 1, "missing_words", value=["na", "na"]), "'features[1].missing_words'"),
        (put("ignored", value=["a", "a"]), "'ignored'"),
        (put("rows_as", value="table"), "'rows_as'"),
        (put("profile", value=[]), "'profile'"),
        (put("profile", "rows", value=0), "'profile.rows'"),
        (drop("profile", "features", "age"), "'profile.features'"),
        (put("profile", "features", "age", "edges", value=[2, 1]), "'profile.features['age'].edges'"),
        (put("profile", "features", "age", "shares", value=[1]), "'profile.features['age'].shares'"),
        (put("profile", "features", "age", "shares", 0, value=-1), "'profile.features['age'].shares'"),
        (put("profile", "features", "age", "levels", value=[]), "'profile.features['age']'"),
        (put("profile", "predictions", value={"levels": ["0", "1"], "shares": [1, 0, 0]}), "predictions'"),
        (put("profile", "mode", value=1), "'profile.mode'"),
        (put("features", 1, "name", value="age"), "'features'"),
        (put("features", 1, "unit", value="EUR"), "'features[1].unit'"),
        (put("classes", value=[0, 0]), "'classes'"),
        (put("classes", value=[0, "1"]), "'classes'"),
        (put("classes", value=[0, 2**63]), "'classes'"),
        (put("classes", value=[0, 1, 2]), "'classes'"),
        (put("classes", value=[]), "'classes'"),
        (put("task", value="ranking"), "'task'"),
        (put("task", value={}), "'task'"),
        (put("runtime", value="java"), "'runtime'"),
        (put("parity", value={}), "'parity'"),
        (put("threshold", value="0.5"), "'threshold'"),
        (put("threshold", value=float("inf")), "'threshold'"),
        (put("ids", value=["a", "a"]), "'ids'"),
        (put("engines", value=None), "'engines'"),
        (put("name", value="a\nb"), "'name'"),
        (put("target", value="\ud800"), "'target'"),
        (put("later", value=1), "'later'"),
        (put("a\nb", value=1), "'a\\nb'"),
        (put("format", value=FORMAT + 1), f"format {FORMAT + 1}"),
        (put("format", value="1"), "format"),
        (put("format", value=True), "format"),
    ],
)
def test_a_malformed_manifest_is_one_line_that_names_the_key(
    change: Edit,
    named: str,
    bundle_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(edited(bundle_dir, tmp_path, change)))
    assert main(["check"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: model.json")
    assert named in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"format": ' + b"1" * 5000 + b"}", b"\0"],
)
def test_a_manifest_that_is_no_object_is_one_line(
    content: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "model.json").write_bytes(content)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert main(["check"]) == 2
    error = capsys.readouterr().err
    assert "model.json" in error
    assert error.count("\n") == 1


def loaded(folder: Path, manifest: bytes) -> Manifest | None:
    """The manifest of the bundle with this ``model.json``; None if it is refused in one line."""
    (folder / "model.json").write_bytes(manifest)
    try:
        return Model.load(folder).manifest
    except BundleError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    return None


def same_but_for_its_description(found: Manifest, sound: Manifest) -> bool:
    return found._replace(**{key: getattr(sound, key) for key in (*DESCRIPTION, "files")}) == sound


@pytest.fixture(scope="module", params=["bundle_dir", "mixed_dir", "regression_dir"])
def damaged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose manifest the tests write over, beside ``sound.json``, as training wrote it."""
    folder = copied(request.getfixturevalue(request.param), tmp_path_factory.mktemp("damaged"))
    shutil.copy(folder / "model.json", folder / "sound.json")
    return folder


@pytest.mark.slow
@settings(max_examples=200)
@given(data=st.data())
def test_any_mutation_is_the_same_model_or_one_line(damaged: Path, data: Any) -> None:
    document = json.loads((damaged / "sound.json").read_bytes())
    sound = parsed(document)
    document = mutated(data, document)
    found = loaded(damaged, json.dumps(document).encode())
    assert found is None or same_but_for_its_description(found, sound)
    # One who edits it may make its version, too; then it may be another model.
    if isinstance(document.get("files"), dict) and document.get("format") == FORMAT:
        loaded(damaged, json.dumps({**document, "version": content_version(document)}).encode())


@pytest.mark.slow
@settings(max_examples=200)
@given(place=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
@example(place=0.0, byte=0, cut=True)
def test_any_damaged_byte_is_the_same_model_or_one_line(
    damaged: Path, place: float, byte: int, cut: bool
) -> None:
    content = (damaged / "sound.json").read_bytes()
    where = int(place * (len(content) - 1))
    found = loaded(damaged, content[:where] + (b"" if cut else bytes([byte]) + content[where + 1 :]))
    assert found is None or same_but_for_its_description(found, parsed(json.loads(content)))


# A manifest of format 1, as the release before wrote it


def test_a_manifest_of_format_1_is_read() -> None:
    manifest = parsed(json.loads(FORMAT_1.read_text()))
    assert (manifest.format, manifest.version) == (1, "12d2d3d8cc7f")
    assert [feature.name for feature in manifest.features] == ["age", "city", "member", "spent"]
    assert manifest.classes == (0, 1)
    assert manifest.threshold == 0.4


@pytest.mark.parametrize(
    "change",
    [
        put("version", value="0123456789ab"),
        lambda document: document["classes"].reverse(),
        put("features", 0, "kind", value="number"),
        put("files", "model.onnx", value="0" * 64),
        put("format", value=2),
    ],
)
def test_a_manifest_of_format_1_is_refused_where_its_version_finds_an_edit(change: Edit) -> None:
    document = json.loads(FORMAT_1.read_text())
    change(document)
    with pytest.raises(BundleError, match="changed after training"):
        parsed(document)


# A folder that is trained into while it is served

ROWS = b"age,new_user,total_pages_visited\n" + b"45,0,5\n25,1,29\n" * 20
REQUESTS = (
    Request("GET", "/predict", (("age", "45"), ("new_user", "0"), ("total_pages_visited", "5"))),
    Request("POST", "/predict_file", headers={"content-type": "text/csv"}, body=ROWS),
    Request("POST", "/predict_file", headers={"content-type": "text/csv", "accept": "text/csv"}, body=ROWS),
    Request(
        "POST",
        "/predict",
        headers={"content-type": "application/json"},
        body=json.dumps([{"age": 45, "new_user": 0, "total_pages_visited": 5}] * 40).encode(),
    ),
    *(
        Request("GET", f"/{route}")
        for route in ("model", "openapi.json", "healthz", "report", "card", "apidocs")
    ),
)


def retrain(folder: Path) -> None:
    frame = sample.rows(1, rows=4000, converted=400)
    frame.to_csv(folder.parent / "others.csv", index=False)
    train(Options(data=folder.parent / "others.csv", out=folder, name="another"), quiet)


def overwrite(folder: Path) -> None:
    for file in folder.iterdir():
        file.write_bytes(b"another")


@pytest.mark.slow
@pytest.mark.parametrize("disturb", [retrain, overwrite, shutil.rmtree])
@pytest.mark.parametrize("fixture", ["bundle_dir", "joblib_dir"])
def test_what_was_loaded_is_served_whatever_becomes_of_the_folder(
    fixture: str, disturb: Callable[[Path], None], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = copied(request.getfixturevalue(fixture), tmp_path / "model")
    known, late = (App(Model.load(folder), Settings(model_dir=str(folder))) for _ in range(2))
    before = [known.handle(each) for each in REQUESTS]
    assert {answer.status for answer in before} == {200}
    disturb(folder)
    for app in (known, late):
        assert [app.handle(each) for each in REQUESTS] == before


def test_a_changed_report_is_not_found_and_nothing_of_ours_is_told(
    bundle_dir: Path, tmp_path: Path
) -> None:
    folder = copied(bundle_dir, tmp_path / "model")
    for name in ("report.html", "MODEL_CARD.md"):
        (folder / name).write_bytes(b"another")
    app = App(Model.load(folder), Settings(model_dir=str(folder)))
    for route in ("report", "card"):
        answer = app.handle(Request("GET", f"/{route}"))
        assert answer.status == 404
        assert b"changed after training" in answer.body
        assert str(tmp_path).encode() not in answer.body
        assert b"sha256" not in answer.body


# Signatures


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """``private.pem``, and beside it ``public.pem``."""
    pair = Ed25519PrivateKey.generate()
    return _written(pair, tmp_path / "private.pem")


def _written(pair: Any, file: Path) -> Path:
    private = pair.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file.write_bytes(private)
    file.with_name("public.pem").write_bytes(public)
    return file


@pytest.fixture
def signed(bundle_dir: Path, tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle that the key's owner has signed, and asked for."""
    folder = copied(bundle_dir, tmp_path / "signed")
    monkeypatch.setenv("MODEL_DIR", str(folder))
    assert main(["sign", "--key", str(key)]) == 0
    monkeypatch.setenv("MODEL_PUBLIC_KEY", str(key.with_name("public.pem")))
    return folder


@pytest.mark.parametrize(
    "spelled", [str, lambda file: file.read_text(), lambda file: file.read_text().replace("\n", "\\n")]
)
def test_a_signed_bundle_is_served(
    spelled: Callable[[Path], str], signed: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (signed / "model.json.sig").stat().st_size == 64
    monkeypatch.setenv("MODEL_PUBLIC_KEY", spelled(key.with_name("public.pem")))
    assert main(["check"]) == 0


@pytest.mark.parametrize(
    "change",
    [
        put("created", value="2026-01-01T00:00:00+00:00"),
        put("metrics", "accuracy", value=1.0),
        put("threshold", value=0.1),
    ],
)
def test_an_edit_with_its_version_made_anew_is_found_by_the_signature(
    change: Edit, signed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {file.name: file.read_bytes() for file in signed.iterdir()}
    (signed / "model.json").write_bytes(content["model.json"])
    other = resealed(signed, signed.with_name("edited"), change)
    (signed / "model.json").write_bytes((other / "model.json").read_bytes())
    capsys.readouterr()
    assert main(["check"]) == 2
    assert "not a signature of model.json" in capsys.readouterr().err


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, None], ids=["empty", "zeros", "absent"])
def test_a_bundle_without_a_sound_signature_is_refused_where_one_is_asked_for(
    signature: bytes | None, signed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = signed / "model.json.sig"
    file.unlink() if signature is None else file.write_bytes(signature)
    serve = ["serve", "--port", str(free_port())]  # 8080 may be taken, by make serve
    for command in (["check"], ["predict", "age=45"], ["score", "x.csv"], ["invoke", "x.json"], serve):
        capsys.readouterr()
        if command == ["invoke", "x.json"]:
            (signed.parent / "x.json").write_text("{}")
            command = ["invoke", str(signed.parent / "x.json")]
        assert main(command) == 2
        error = capsys.readouterr().err
        assert "model.json.sig" in error
        assert error.count("\n") == 1


def test_another_key_than_the_signers_is_refused(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    other = _written(Ed25519PrivateKey.generate(), tmp_path / "other" / "private.pem")
    monkeypatch.setenv("MODEL_PUBLIC_KEY", str(other.with_name("public.pem")))
    assert main(["check"]) == 2
    assert f"{signed}/model.json.sig is not a signature" in capsys.readouterr().err


@pytest.mark.parametrize(
    "told", ["absent.pem", "-----BEGIN PUBLIC KEY-----", "x25519", "private", "model.onnx"]
)
def test_a_public_key_that_is_none_is_named(
    told: str,
    signed: Path,
    key: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "x").mkdir()
    values = {
        "x25519": _written(X25519PrivateKey.generate(), tmp_path / "x" / "private.pem").with_name(
            "public.pem"
        ),
        "private": key,
        "model.onnx": signed / "model.onnx",
    }
    monkeypatch.setenv("MODEL_PUBLIC_KEY", str(values.get(told, told)))
    assert main(["check"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: MODEL_PUBLIC_KEY must be an Ed25519 public key")
    assert error.count("\n") == 1


def test_the_functions_entry_point_asks_for_the_signature(signed: Path) -> None:
    script = "from handler.app import application; application()"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    (signed / "model.json.sig").unlink()
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert "BundleError" in done.stderr


def test_only_a_whole_bundle_is_signed(
    bundle_dir: Path,
    tmp_path: Path,
    key: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = copied(bundle_dir, tmp_path / "model")
    (folder / "MODEL_CARD.md").write_text("edited")
    monkeypatch.setenv("MODEL_DIR", str(folder))
    assert main(["sign", "--key", str(key)]) == 2
    assert "MODEL_CARD.md has sha256" in capsys.readouterr().err
    assert not (folder / "model.json.sig").exists()


@pytest.mark.parametrize("file", ["absent", "public.pem"])
def test_a_private_key_that_is_none_is_named(
    file: str,
    bundle_dir: Path,
    key: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(copied(bundle_dir, tmp_path / "model")))
    assert main(["sign", "--key", str(key.with_name(file))]) == 2
    error = capsys.readouterr().err
    assert file in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_training_into_a_signed_folder_leaves_no_signature_behind(signed: Path, tmp_path: Path) -> None:
    trained(tmp_path, mixed_rows(300).drop(columns="price"), "signed", target="class", out=signed)
    assert not (signed / "model.json.sig").exists()
    assert main(["check"]) == 2


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_makes_keys_and_signatures_that_are_taken_and_takes_ours(
    bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(bundle_dir, tmp_path / "model")
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    manifest, signature = folder / "model.json", folder / "model.json.sig"

    def openssl(*words: str | Path) -> None:
        subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)

    openssl("genpkey", "-algorithm", "ed25519", "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    openssl("pkeyutl", "-sign", "-inkey", private, "-rawin", "-in", manifest, "-out", signature)
    monkeypatch.setenv("MODEL_DIR", str(folder))
    monkeypatch.setenv("MODEL_PUBLIC_KEY", str(public))
    assert main(["check"]) == 0
    theirs = signature.read_bytes()
    assert main(["sign", "--key", str(private)]) == 0
    assert signature.read_bytes() == theirs  # Ed25519 gives one signature only
    openssl(
        "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", manifest, "-sigfile", signature
    )
