"""The routes that predict: JSON, a query or a CSV in, predictions out. A direct invoke enters here, too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from handler.errors import (
    LONGEST_NAME,
    AnswerTooLarge,
    InvalidRecords,
    Problem,
    Problems,
    UnsupportedMediaType,
)
from handler.schema import Record
from handler.scoring import outputs
from handler.scoring.model import Model
from handler.settings import Settings
from handler.typed import TYPE_CHECKING, Any, cast
from handler.web.messages import (
    CSV,
    CSV_TYPES,
    CURL_CSV,
    CURL_JSON,
    FORM,
    JSON,
    MULTIPART,
    Answer,
    Predicted,
    Request,
    answer_json,
    length_in_json,
    multipart_file,
    prefers_csv,
    read_json,
)

if TYPE_CHECKING:
    from handler.scoring.scorers import Scores
    from handler.tables.formats import Table
    from handler.tables.rows import Rows

#: Every rejected row, and every probability, takes at least so many bytes of a JSON answer.
SHORTEST_REJECT = 60
SHORTEST_PROBABILITY = 5
#: The bytes of a block: larger ones would hold up other threads, and be scored no faster here.
AT_ONCE = 128 * 1024


def predict(
    model: Model, payload: object, *, explained: bool = False
) -> tuple[dict[str, Any], int, Predicted]:
    """Predict a JSON record, a list of records, or ``{"instances": [...]}``.

    Returns the body, the number of rows, and the records with their predictions; raises ``InvalidRecords``
    with all problems. ``explained``: each prediction has ``contributions`` too, or ``NotExplainable`` is
    raised.
    """
    schema = model.schema
    if isinstance(payload, Mapping) and "instances" in payload and not schema.carries("instances"):
        payload = _instances(payload)
    if not isinstance(payload, list):
        record = schema.from_json(payload)
        ids = schema.carried(cast("Mapping[str, object]", payload))
        document = _one(model, record, ids, explained=explained)
        return document, 1, ((record, document),)
    problems = Problems()
    records = [schema.judge_json(value, problems, index) for index, value in enumerate(payload)]
    if problems:
        raise InvalidRecords(problems.listed, problems.more)
    sound = cast("list[Record]", records)
    answers = model.predict(sound)
    if explained:
        answers = model.explained(sound, answers)
    predictions = [
        {**answer, **schema.carried(value)} for answer, value in zip(answers, payload, strict=True)
    ]
    document = {"predictions": predictions, "model": model.manifest.identity}
    return document, len(records), zip(sound, predictions, strict=True)


def get_predict(model: Model, settings: Settings, request: Request) -> Answer:  # noqa: ARG001
    """One customer, in the query."""
    return _get(model, request, explained=False)


def get_explain(model: Model, settings: Settings, request: Request) -> Answer:  # noqa: ARG001
    """The same, with what each feature adds to the prediction."""
    model.explainer()  # where there is none, the values do not matter
    return _get(model, request, explained=True)


def _get(model: Model, request: Request, *, explained: bool) -> Answer:
    schema = model.schema
    record = schema.from_query(request.query)
    ids = schema.carried(dict(request.query)) if schema.ids else {}
    document = _one(model, record, ids, explained=explained)
    return answer_json(document, rows=1, predicted=((record, document),) if request.captured else ())


def post_predict(model: Model, settings: Settings, request: Request) -> Answer:
    """Records as JSON, or rows as CSV: all are predicted, or none."""
    return _post(model, settings, request, explained=False)


def post_explain(model: Model, settings: Settings, request: Request) -> Answer:
    """The same, with what each feature adds to each prediction."""
    model.explainer()  # where there is none, the values do not matter
    return _post(model, settings, request, explained=True)


def _post(model: Model, settings: Settings, request: Request, *, explained: bool) -> Answer:
    if request.media_type in ("", JSON):
        document, count, predicted = predict(model, read_json(request.body), explained=explained)
        return answer_json(document, rows=count, predicted=predicted if request.captured else ())
    if request.media_type != CSV:
        hint = f"{CURL_JSON}, or {CURL_CSV}" if request.media_type == FORM else ""
        raise UnsupportedMediaType((JSON, CSV), hint)
    ids = settings.capture_ids if request.captured else ()
    table, scored = _scored(model, settings, request.body, every_row=bool(ids))
    problems = Problems()
    predictions: list[dict[str, Any]] = []
    captured: list[tuple[Record, dict[str, Any]]] = []
    for rows, scores in scored:
        for reject in rows.rejects:
            problems.add(reject.column, reject.code, reject.reason, line=reject.line)
        if problems:
            continue
        records = list(zip(*(rows.columns[name].tolist() for name in model.schema.names), strict=True))
        answers = model.answers(records, scores)
        predictions += model.explained(records, answers) if explained else answers
        if request.captured:
            captured += zip(records, _with_ids(answers, rows, table, model, ids), strict=True)
    if problems:
        raise InvalidRecords(problems.listed, problems.more)
    document = {"predictions": predictions, "model": model.manifest.identity}
    return answer_json(document, rows=len(predictions), predicted=captured)


def _with_ids(
    answers: list[dict[str, Any]], rows: Rows, table: Table, model: Model, ids: Sequence[str]
) -> list[dict[str, Any]]:
    """The predictions of rows, of which none was rejected, with their cells in the id columns ``ids``."""
    if not ids:
        return answers
    from handler.tables.header import column_names

    assert isinstance(rows.text, list)
    names = column_names(table.layout.header, model.schema)
    positions = {name: position for position, name in enumerate(names) if name in ids}
    return [
        {**answer, "ids": {name: cells[position] for name, position in positions.items()}}
        for answer, cells in zip(answers, rows.text, strict=True)
    ]


def post_predict_file(model: Model, settings: Settings, request: Request) -> Answer:
    """A CSV file: each row is predicted or rejected, in order.

    The answer has ``probabilities`` where there is room for them: they take most of its bytes.
    """
    if request.media_type == MULTIPART:
        body = multipart_file(request)
    elif request.media_type in ("", *CSV_TYPES):
        body = request.body
    else:
        hint = f"; with curl: -F file=@f.csv, or {CURL_CSV}" if request.media_type == FORM else ""
        raise UnsupportedMediaType((MULTIPART, CSV), hint)
    if prefers_csv(request.headers.get("accept", "")):
        return _joined(model, settings, body)
    from handler.web.lists import PROBABILITIES, Lists  # one customer's prediction does not wait for it

    _, scored = _scored(model, settings, body)
    lists = Lists(model.manifest)
    total = rejected = 0
    for rows, scores in scored:
        total, rejected = total + rows.total, rejected + len(rows.rejects)
        lists.add(rows, scores)
        if request.most is not None:
            if total * len(model.manifest.classes) * SHORTEST_PROBABILITY > request.most:
                lists.leave_out(PROBABILITIES)
            if rejected * SHORTEST_REJECT > request.most:
                raise AnswerTooLarge(request.most)
    rest = answer_json({"model": model.manifest.identity}, rows=total, rejected=rejected)
    answer = rest._replace(body=lists.before(rest.body))
    if request.most is not None and PROBABILITIES in lists.names and length_in_json(answer) > request.most:
        lists.leave_out(PROBABILITIES)
        return rest._replace(body=lists.before(rest.body))
    return answer


def _instances(payload: Mapping[str, object]) -> list[object]:
    """The records of ``{"instances": [...]}``; raises ``InvalidRecords``."""
    # Vertex AI's SDK writes "parameters": null beside the instances.
    others = [
        name
        for name, value in payload.items()
        if name != "instances" and (name != "parameters" or value is not None)
    ]
    if others:
        problems = Problems()
        for name in others:
            shown = name[:LONGEST_NAME]
            problems.add(shown, "unknown_field", f"'{shown}' cannot stand beside 'instances'")
        raise InvalidRecords(problems.listed, problems.more)
    instances = payload["instances"]
    if not isinstance(instances, list):
        raise InvalidRecords([Problem("instances", "not_a_list", "'instances' must be a list")])
    return instances


def _one(model: Model, record: Record, ids: Mapping[str, Any], *, explained: bool) -> dict[str, Any]:
    prediction = model.predict_one(record)
    if explained:
        (prediction,) = model.explained([record], [prediction])
    return {**prediction, **ids, "model": model.manifest.identity}


def _scored(
    model: Model, settings: Settings, body: bytes, every_row: bool = False
) -> tuple[Table, Iterator[tuple[Rows, Scores]]]:
    """The table in a body, and its blocks, each read and scored when its turn comes."""
    from handler.scoring.table import score_block  # one customer's prediction does not wait for it
    from handler.tables import formats

    # Without numpy and polars, which find where blocks end and read them, a table is one block of rows.
    size, piece = (len(body) + 1,) * 2 if model.alone else (settings.block_bytes or AT_ONCE, AT_ONCE)
    chunks = (body[start : start + piece] for start in range(0, len(body), piece))
    table = formats.opened(chunks, model.schema, size)
    every_row = every_row or model.alone
    return table, (score_block(model, block, table, every_row) for block in table.blocks)


def _joined(model: Model, settings: Settings, body: bytes) -> Answer:
    """Every input row with its prediction; a rejected one keeps its cells and gets empty ones."""
    from handler.tables import writing

    table, scored = _scored(model, settings, body, every_row=True)
    lines = [writing.head(table.layout, outputs.names(model.manifest))]
    total = rejected = 0
    for rows, scores in scored:
        total, rejected = total + rows.total, rejected + len(rows.rejects)
        columns = outputs.columns(model.manifest, scores)
        lines.append(table.format.write(rows, table.layout, columns, every_row=True))
    headers = {"content-type": f"{CSV}; charset=utf-8", "x-rows-rejected": str(rejected)}
    return Answer(200, headers, b"".join(lines), total, rejected)
