"""The SAM template, the Cloud Run service and job: what must hold of them before anything is deployed."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from handler.errors import BundleError
from handler.scoring.model import Model
from handler.settings import Settings
from tests.support.containers import asl_validator, checkov, sam
from tests.support.stepfunctions import DEFINITION, Run, filled_in

ROOT = Path(__file__).resolve().parents[1]
FUNCTIONS = ("RequestFunction", "BatchFunction", "PartFunction")
#: What EventBridge documents of numbers in patterns: those beyond are compared with nothing.
#: https://github.com/aws/event-ruler#numeric-matching
GREATEST_NUMBER = 5_000_000_000


#: Prints what CloudFormation makes of the template for each archive, once artifacts lie in S3 and ECR.
TRANSFORM = """
import json, sys
import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

def transformed(archive):
    template = yaml_parse(open("template.yaml").read())
    for resource in template["Resources"].values():
        if resource.get("Properties", {}).get("PackageType") == "Image":
            resource["Properties"]["ImageUri"] = "1.dkr.ecr.eu-central-1.amazonaws.com/function:1"
    template["Resources"]["StateMachine"]["Properties"]["DefinitionUri"] = "s3://bucket/key"
    translator = Translator({}, Parser(), None, boto3.Session())
    return translator.translate(template, {"RequestZip": archive})

print(json.dumps({archive: transformed(archive) for archive in sys.argv[1:]}))
"""
#: The zips of the stacks that are compared.
ARCHIVES = ("", "b/a.zip", "bucket/model-1.zip", "bucket/model-2.zip")


class Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms, each as the mapping that it stands for."""


def _intrinsic(loader: Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix == "Ref" else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    assert isinstance(node, yaml.SequenceNode)
    return {name: loader.construct_sequence(node, deep=True)}


Loader.add_multi_constructor("!", _intrinsic)


@pytest.fixture(scope="module")
def template() -> Any:
    return yaml.load((ROOT / "template.yaml").read_text(), Loader)


@pytest.fixture(scope="module")
def resources(template: Any) -> dict[str, Any]:
    return {name: each.get("Properties", {}) for name, each in template["Resources"].items()}


def statements(resources: dict[str, Any], role: str) -> Iterator[tuple[list[str], list[Any]]]:
    """The actions and resources that a role allows."""
    for each in policy_of(resources, role):
        assert each["Effect"] == "Allow"
        yield listed(each["Action"]), listed(each["Resource"])


def policy_of(resources: dict[str, Any], role: str) -> list[dict[str, Any]]:
    """The statements of a role's policies."""
    return [
        each for policy in resources[role]["Policies"] for each in policy["PolicyDocument"]["Statement"]
    ]


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.slow
def test_sam_and_cfn_lint_find_nothing() -> None:
    assert "is a valid SAM Template" in sam("validate", "--lint", cwd=ROOT)


@pytest.mark.slow
def test_checkov_finds_nothing() -> None:
    """Each exception stands beside its resource, with its reason. service.yaml is left out: checkov takes
    Knative's Service for that of Kubernetes, and has one check for it, of the namespace."""
    report = checkov("template.yaml", "Dockerfile.lambda", "Dockerfile.cloudrun")
    assert set(report) == {"cloudformation", "dockerfile"}
    for found in report.values():
        assert found["failed_checks"] == []
        assert found["parsing_errors"] == []
        assert found["passed_checks"]
        reasons = [each["check_result"]["suppress_comment"] for each in found["skipped_checks"]]
        assert all(reason.endswith(".") for reason in reasons)


@pytest.mark.slow
def test_asl_validator_finds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "score.asl.json"
    path.write_text(json.dumps(filled_in()))
    assert "is valid" in asl_validator(path)


def test_all_functions_are_one_image(template: Any) -> None:
    functions = [template["Resources"][name] for name in FUNCTIONS]
    (image,) = {json.dumps(each["Metadata"]) for each in functions}
    dockerfile = (ROOT / json.loads(image)["Dockerfile"]).read_text()
    assert f" AS {json.loads(image)['DockerBuildTarget']}\n" in dockerfile
    assert {each["Properties"]["PackageType"] for each in functions} == {"Image"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("archive", "function"), [("", "RequestFunction"), ("b/a.zip", "RequestZipFunction")]
)
def test_requests_go_to_the_function_of_the_image_or_of_the_zip(archive: str, function: str) -> None:
    """Everything that names the function names the one that there is."""
    resources = deployed(archive)
    functions = {name for name, each in resources.items() if each["Type"] == "AWS::Lambda::Function"}
    assert functions == {function, "BatchFunction", "PartFunction"}
    code = resources[function]["Properties"]["Code"]
    assert code == ({"S3Bucket": "b", "S3Key": "a.zip"} if archive else {"ImageUri": code.get("ImageUri")})
    (method,) = resources["Api"]["Properties"]["Body"]["paths"]["$default"].values()
    uri, values = method["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
    assert uri.endswith("/functions/${Arn}:live/invocations")
    assert values == {"Arn": {"Fn::GetAtt": [function, "Arn"]}}
    alias = resources["ApiPermission"]["Properties"]["FunctionName"]["Ref"]
    assert resources[alias]["Properties"]["FunctionName"] == {"Ref": function}
    assert resources[alias]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]["DeploymentGroupName"] == {
        "Ref": f"{function}DeploymentGroup"
    }
    for alarm in ("RequestErrorAlarm", "RequestCrashAlarm"):
        (dimension,) = resources[alarm]["Properties"]["Dimensions"]
        assert dimension == {"Name": "FunctionName", "Value": {"Ref": function}}


@pytest.mark.slow
def test_another_zip_is_another_version() -> None:
    one, other = (
        {name for name in deployed(f"bucket/{key}.zip") if "ZipFunctionVersion" in name}
        for key in ("model-1", "model-2")
    )
    assert len(one) == len(other) == 1
    assert one != other


@functools.cache
def transformed() -> dict[str, Any]:
    """The template as CloudFormation gets it, by archive; all by one process, as sam is slow to start."""
    made: dict[str, Any] = json.loads(sam("-c", TRANSFORM, *ARCHIVES, python=True, cwd=ROOT))
    return made


def deployed(archive: str) -> dict[str, Any]:
    """The resources that a stack with this archive has, its choices made."""
    made = transformed()[archive]
    truth = {"UsesZip": archive != "", "UsesImage": archive == ""}

    def chosen(value: Any) -> Any:
        if isinstance(value, list):
            return [chosen(each) for each in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Fn::If"} and value["Fn::If"][0] in truth:
            condition, yes, no = value["Fn::If"]
            return chosen(yes if truth[condition] else no)
        if value.keys() == {"Fn::Select"}:
            index, text = value["Fn::Select"]
            return text["Fn::Split"][1].split(text["Fn::Split"][0])[index]
        return {name: chosen(each) for name, each in value.items()}

    resources = made["Resources"].items()
    return {name: chosen(each) for name, each in resources if truth.get(each.get("Condition"), True)}


def test_a_zip_may_be_any_object_at_the_top_of_a_bucket(template: Any) -> None:
    """Its key must be one segment, as the template can split no better."""
    pattern = template["Parameters"]["RequestZip"]["AllowedPattern"]
    for archive in ("", "code/sales-0123456789ab.zip", "my.bucket-1/a.zip"):
        assert re.fullmatch(pattern, archive)
    for archive in ("a.zip", "/a.zip", "bucket/", "bucket/folder/a.zip", "s3://bucket/a.zip"):
        assert not re.fullmatch(pattern, archive)


def test_both_request_functions_are_alike_but_for_their_code(resources: dict[str, Any]) -> None:
    image, packed = resources["RequestFunction"], resources["RequestZipFunction"]
    assert {name: packed[name] for name in image.keys() - {"PackageType"}} == {
        name: each for name, each in image.items() if name != "PackageType"
    }
    assert packed.keys() - image.keys() == {"Runtime", "Handler", "CodeUri"}
    assert importlib.util.find_spec(packed["Handler"].rpartition(".")[0]) is not None


def test_outputs_cannot_start_a_run(resources: dict[str, Any]) -> None:
    for rule in ("UploadRule", "LargeUploadRule"):
        assert pattern_of(resources, rule)["detail"]["bucket"]["name"] == ["in"]
    assert "NotificationConfiguration" not in resources["OutputBucket"]
    for function in ("BatchFunction", "PartFunction"):
        assert resources[function]["Environment"]["Variables"] == {
            "INPUT_URI": {"Fn::Sub": "s3://${InputBucket}/${InputPrefix}"},
            "OUTPUT_URI": {"Fn::Sub": "s3://${OutputBucket}/${OutputPrefix}"},
        }


LARGE = 500_000_000
BILLION = 1_000_000_000
#: S3 takes no more in one request, by which an upload is a PutObject and not a CompleteMultipartUpload.
MOST_AT_ONCE = 5 * 1024**3


@settings(max_examples=300)
@given(
    key=st.sampled_from(["day.csv", "a/b.csv", "day.csv.gz", "day.csv.zst", "day.txt", "day.csv/x", "csv"]),
    prefix=st.sampled_from(["incoming/", "incoming", "other/", ""]),
    size=st.sampled_from([0, 1, LARGE - 1, LARGE, LARGE + 1, GREATEST_NUMBER, GREATEST_NUMBER + 1])
    | st.integers(0, 50 * 1000 * BILLION),
    reason=st.sampled_from(["PutObject", "CopyObject", "POST Object", "CompleteMultipartUpload"]),
)
def test_an_upload_is_scored_by_exactly_one_of_the_queue_and_the_state_machine(
    resources: dict[str, Any], key: str, prefix: str, size: int, reason: str
) -> None:
    """Whatever its size: EventBridge compares no number above five billion."""
    assume(reason == "CompleteMultipartUpload" or size <= GREATEST_NUMBER)
    event = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {
            "bucket": {"name": "in"},
            "object": {"key": prefix + key, "size": size},
            "reason": reason,
        },
    }
    queued, started = (
        matches(pattern_of(resources, rule), event) for rule in ("UploadRule", "LargeUploadRule")
    )
    wanted = (prefix + key).startswith("incoming/") and key.endswith((".csv", ".csv.gz", ".csv.zst"))
    large = key.endswith(".csv") and size > LARGE
    assert queued == (wanted and size > 0 and not large)
    # The state machine's first choice leaves to the queue what the queue has.
    scored = started and Run(filled_in(LargeBytes=str(LARGE)), event).route() == "Plan"
    assert scored == (wanted and large)


def pattern_of(resources: dict[str, Any], rule: str) -> Any:
    """A rule's pattern, its text filled in."""
    values = {"InputBucket": "in", "InputPrefix": "incoming", "LargeBytes": str(LARGE)}
    text = resources[rule]["EventPattern"]["Fn::Sub"]
    return json.loads(re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], text))


def matches(pattern: dict[str, Any], event: dict[str, Any]) -> bool:
    """Whether EventBridge's pattern matches, by what its user guide says of the operators in use here.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
    """

    def one(filters: list[Any], value: Any) -> bool:
        return any(
            value == each if not isinstance(each, dict) else operator(each, value) for each in filters
        )

    def operator(each: dict[str, Any], value: Any) -> bool:
        ((name, operand),) = each.items()
        if name == "wildcard":
            return re.fullmatch(".*".join(map(re.escape, operand.split("*"))), value) is not None
        if name == "anything-but":
            return bool(value != operand)
        assert name == "numeric"
        if abs(value) > GREATEST_NUMBER:
            return False
        compare = {">": value.__gt__, "<=": value.__le__}
        return all(compare[sign](bound) for sign, bound in zip(operand[::2], operand[1::2], strict=True))

    for name, wanted in pattern.items():
        if name == "$or":
            if not any(matches(each, event) for each in wanted):
                return False
        elif isinstance(wanted, dict):
            if not matches(wanted, event[name]):
                return False
        elif not one(wanted, event[name]):
            return False
    return True


def test_the_sizes_that_the_rules_compare_are_numbers_to_them(template: Any) -> None:
    large = template["Parameters"]["LargeBytes"]
    assert large["MinValue"] <= large["Default"] <= large["MaxValue"] <= GREATEST_NUMBER


def test_the_queue_waits_six_times_as_long_as_a_run(template: Any, resources: dict[str, Any]) -> None:
    assert resources["BatchFunction"]["Timeout"] == {"Ref": "BatchTimeout"}
    assert resources["UploadQueue"]["VisibilityTimeout"] == {
        "Fn::FindInMap": ["Visibility", {"Ref": "BatchTimeout"}, "Seconds"]
    }
    seconds = {int(name): each["Seconds"] for name, each in template["Mappings"]["Visibility"].items()}
    assert sorted(seconds) == template["Parameters"]["BatchTimeout"]["AllowedValues"]
    assert all(wait >= 6 * timeout for timeout, wait in seconds.items())
    assert template["Parameters"]["BatchTimeout"]["Default"] == 900


def test_a_file_that_keeps_failing_is_kept_and_told(resources: dict[str, Any]) -> None:
    dead = {"Fn::GetAtt": "DeadLetterQueue.Arn"}
    assert resources["UploadQueue"]["RedrivePolicy"]["deadLetterTargetArn"] == dead
    for rule in ("UploadRule", "LargeUploadRule"):
        (target,) = resources[rule]["Targets"]
        assert target["DeadLetterConfig"] == {"Arn": dead}
    upload = resources["BatchFunction"]["Events"]["Upload"]["Properties"]
    assert upload["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    # Else the poller takes more messages than the function may run, and throttling uses up their tries.
    concurrency = resources["BatchFunction"]["ReservedConcurrentExecutions"]
    assert upload["ScalingConfig"]["MaximumConcurrency"] == concurrency
    watched = {
        (each["MetricName"], str(each["Dimensions"][0]["Value"]))
        for name, each in resources.items()
        if name.endswith("Alarm")
    }
    assert watched == {
        ("ApproximateNumberOfMessagesVisible", str({"Fn::GetAtt": "DeadLetterQueue.QueueName"})),
        ("Errors", str({"Fn::If": ["UsesZip", {"Ref": "RequestZipFunction"}, {"Ref": "RequestFunction"}]})),
        ("Errors", str({"Ref": "BatchFunction"})),
        *(("Drift", str({"Ref": f"{function}Function"})) for function in ("Batch", "Part")),
        *((f"Executions{end}", str({"Ref": "StateMachine"})) for end in ("Failed", "TimedOut", "Aborted")),
    }
    told = {str(each["AlarmActions"]) for name, each in resources.items() if name.endswith("Alarm")}
    assert len(told) == 1


def test_no_policy_has_a_wildcard_but_for_keys_below_a_prefix(resources: dict[str, Any]) -> None:
    roles = [name for name, each in resources.items() if "AssumeRolePolicyDocument" in each]
    assert len(roles) == 5
    for role in roles:
        assert "ManagedPolicyArns" not in resources[role]
        for actions, targets in statements(resources, role):
            assert not [action for action in actions if "*" in action]
            if targets == ["*"]:  # deliveries of logs have no ARN
                assert role == "StateMachineRole"
                assert all(re.fullmatch(r"logs:\w+(Deliver|Polic|LogGroups)\w*", each) for each in actions)
                continue
            for target in targets:
                text = target.get("Fn::GetAtt") or target.get("Ref") or target["Fn::Sub"]
                assert "*" not in text or re.fullmatch(
                    r"\$\{\w+Bucket\.Arn\}/(\$\{\w+Prefix\}|_runs)/\*(/plan\.json)?", text
                )
    for name in FUNCTIONS:
        assert "Role" in resources[name]
        assert "Policies" not in resources[name]
    assert "Policies" not in resources["StateMachine"]


def test_storage_and_queues_are_closed_to_whoever_comes_without_tls(resources: dict[str, Any]) -> None:
    def closed(policy: str) -> Any:
        (deny,) = (
            each for each in resources[policy]["PolicyDocument"]["Statement"] if each["Effect"] == "Deny"
        )
        assert deny["Principal"] == "*"
        assert deny["Action"] == ("sqs:*" if policy == "QueuePolicy" else "s3:*")
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        return deny["Resource"]

    for bucket in ("InputBucket", "OutputBucket"):
        policy = f"{bucket}Policy"
        assert resources[policy]["Bucket"] == {"Ref": bucket}
        assert closed(policy) == [{"Fn::GetAtt": f"{bucket}.Arn"}, {"Fn::Sub": f"${{{bucket}.Arn}}/*"}]
    assert resources["QueuePolicy"]["Queues"] == [
        {"Ref": queue} for queue in ("UploadQueue", "DeadLetterQueue")
    ]
    assert closed("QueuePolicy") == "*"


def test_a_queue_policy_has_one_resource_per_statement(resources: dict[str, Any]) -> None:
    """SQS refuses a list of several, and with it the stack."""
    for each in resources["QueuePolicy"]["PolicyDocument"]["Statement"]:
        assert isinstance(each["Resource"], str)


def test_a_bucket_that_outlives_the_stack_keeps_its_policy(template: Any) -> None:
    for bucket in ("InputBucket", "OutputBucket"):
        for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
            assert template["Resources"][bucket][policy] == "Retain"
            assert template["Resources"][f"{bucket}Policy"][policy] == "Retain"


def test_services_are_trusted_for_this_account_only(resources: dict[str, Any]) -> None:
    """By the account's number, or by the ARN of a resource of this stack, which has the number in it."""
    documents = [
        each[key]
        for each in resources.values()
        for key in ("AssumeRolePolicyDocument", "PolicyDocument")
        if key in each
    ]
    trusting = [
        each
        for document in documents
        for each in document["Statement"]
        if "Service" in each.get("Principal", "*")
    ]
    assert sorted(each["Principal"]["Service"] for each in trusting) == [
        "events.amazonaws.com",
        "events.amazonaws.com",
        "lambda.amazonaws.com",
        "lambda.amazonaws.com",
        "lambda.amazonaws.com",
        "states.amazonaws.com",
    ]
    rules = [{"Fn::GetAtt": f"{rule}.Arn"} for rule in ("UploadRule", "LargeUploadRule")]
    for each in trusting:
        assert each["Condition"] == (
            {"ArnEquals": {"aws:SourceArn": rules}}
            if each["Action"] == "sqs:SendMessage"
            else {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
        )
    assert "${AWS::AccountId}:${Api}/*" in resources["ApiPermission"]["SourceArn"]["Fn::Sub"]


@pytest.mark.parametrize("role", ["BatchRole", "PartRole"])
def test_every_object_that_may_be_read_may_be_listed_and_no_other(
    resources: dict[str, Any], role: str
) -> None:
    """To those who may not list it, with its key as s3:prefix, a missing object is "forbidden"."""
    listable = set()
    readable = set()
    for each in policy_of(resources, role):
        actions = listed(each["Action"])
        if actions == ["s3:ListBucket"]:
            ((operator, condition),) = each["Condition"].items()
            assert (operator, set(condition)) == ("StringLike", {"s3:prefix"})
            bucket = each["Resource"]["Fn::GetAtt"].removesuffix(".Arn")
            listable.add((bucket, condition["s3:prefix"]["Fn::Sub"]))
        elif "s3:GetObject" in actions:
            assert "Condition" not in each
            bucket, keys = each["Resource"]["Fn::Sub"].removeprefix("${").split(".Arn}/", 1)
            readable.add((bucket, keys))
    assert (
        listable == readable == {("InputBucket", "${InputPrefix}/*"), ("OutputBucket", "${OutputPrefix}/*")}
    )


def test_functions_read_inputs_and_write_outputs_only_and_parts_may_go_again(
    resources: dict[str, Any],
) -> None:
    def allowed(role: str) -> set[tuple[str, str]]:
        return {
            (action, target["Fn::Sub"])
            for actions, targets in statements(resources, role)
            for action in actions
            for target in targets
            if "Fn::Sub" in target
        }

    source, target = "${InputBucket.Arn}/${InputPrefix}/*", "${OutputBucket.Arn}/${OutputPrefix}/*"
    assert allowed("BatchRole") == {
        ("s3:GetObject", source),
        ("s3:GetObject", target),
        ("s3:PutObject", target),
        ("s3:AbortMultipartUpload", target),
    }
    assert allowed("PartRole") == {*allowed("BatchRole"), ("s3:DeleteObject", target)}
    everywhere = {action for actions, _ in statements(resources, "RequestRole") for action in actions}
    assert everywhere == {"logs:CreateLogStream", "logs:PutLogEvents"}


def test_requests_may_be_captured_into_one_folder_where_a_parameter_names_it(
    template: Any, resources: dict[str, Any]
) -> None:
    """Objects may be put there and nothing else; the functions of files capture nothing."""
    assert template["Parameters"]["Capture"]["Default"] == ""
    assert template["Resources"]["CapturePolicy"]["Condition"] == "Captures"
    policy = resources["CapturePolicy"]
    assert policy["RoleName"] == {"Ref": "RequestRole"}
    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": "s3:PutObject",
            "Resource": {"Fn::Sub": "arn:${AWS::Partition}:s3:::${Capture}/*"},
        }
    ]
    variables = resources["RequestFunction"]["Environment"]["Variables"]
    assert variables["CAPTURE_URI"] == {"Fn::If": ["Captures", {"Fn::Sub": "s3://${Capture}"}, ""]}
    for function in ("BatchFunction", "PartFunction"):
        assert "CAPTURE_URI" not in resources[function]["Environment"]["Variables"]
    pattern = template["Parameters"]["Capture"]["AllowedPattern"]
    for folder in ("", "my.bucket-1/requests", "bucket/a/b"):
        assert re.fullmatch(pattern, folder)
        assert not folder or Settings.from_env({"CAPTURE_URI": f"s3://{folder}"}).capture_uri
    for folder in ("bucket", "bucket/", "s3://bucket/requests", "bucket/requests/", "bucket/*"):
        assert not re.fullmatch(pattern, folder)
    defaults = Settings()
    assert template["Parameters"]["CaptureShare"]["Default"] == defaults.capture_share
    assert template["Parameters"]["CaptureSeconds"]["Default"] == defaults.capture_seconds


def test_every_function_asks_for_a_signature_where_a_parameter_has_the_key(
    template: Any, resources: dict[str, Any], bundle_dir: Path, tmp_path: Path
) -> None:
    private = Ed25519PrivateKey.generate()
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    line = pem.splitlines()[1]  # sed -n 2p
    pattern = template["Parameters"]["ModelPublicKey"]["AllowedPattern"]
    assert template["Parameters"]["ModelPublicKey"]["Default"] == ""
    assert re.fullmatch(pattern, "")
    assert re.fullmatch(pattern, line)
    assert not re.fullmatch(pattern, pem)
    every = template["Globals"]["Function"]["Environment"]["Variables"]
    condition, stated, otherwise = every["MODEL_PUBLIC_KEY"]["Fn::If"]
    assert (condition, otherwise) == ("IsSigned", "")
    for function in FUNCTIONS:
        assert "MODEL_PUBLIC_KEY" not in resources[function]["Environment"]["Variables"]
    key = Settings.from_env({"MODEL_PUBLIC_KEY": stated["Fn::Sub"].replace("${ModelPublicKey}", line)})
    folder = shutil.copytree(bundle_dir, tmp_path / "model")
    with pytest.raises(BundleError, match="asks for a signature"):
        Model.load(folder, key.model_public_key)
    (folder / "model.json.sig").write_bytes(private.sign((folder / "model.json").read_bytes()))
    assert Model.load(folder, key.model_public_key)


@pytest.mark.parametrize("bucket", ["InputBucket", "OutputBucket"])
def test_buckets_are_private_encrypted_kept_and_tidied(
    template: Any, resources: dict[str, Any], bucket: str
) -> None:
    told = resources[bucket]
    assert set(told["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(told["PublicAccessBlockConfiguration"]) == 4
    assert told["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    rule, *others = told["LifecycleConfiguration"]["Rules"]
    assert [each["Prefix"] for each in others] == (["_runs/"] if bucket == "OutputBucket" else [])
    assert "Prefix" not in rule
    assert (rule["Status"], rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]) == ("Enabled", 1)
    assert template["Resources"][bucket]["DeletionPolicy"] == "Retain"


def test_requests_move_to_a_new_version_gradually_and_back_where_they_fail(
    template: Any, resources: dict[str, Any]
) -> None:
    function = resources["RequestFunction"]
    alias = function["AutoPublishAlias"]
    (route,) = resources["Api"]["DefinitionBody"]["paths"].values()
    uri, _ = route["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
    assert uri.endswith(f"/functions/${{Arn}}:{alias}/invocations")
    assert resources["ApiPermission"]["FunctionName"] == {
        "Fn::If": ["UsesZip", {"Ref": "RequestZipFunction.Alias"}, {"Ref": "RequestFunction.Alias"}]
    }
    preference = function["DeploymentPreference"]
    assert preference["Type"] == {"Ref": "Rollout"}
    assert preference["Alarms"] == [{"Ref": "RequestErrorAlarm"}, {"Ref": "RequestCrashAlarm"}]
    rollout = template["Parameters"]["Rollout"]
    assert rollout["Default"] in rollout["AllowedValues"]
    # Within the pace's first step the alarms must have been able to see an error.
    assert rollout["Default"] == "Canary10Percent5Minutes"
    assert {resources[alarm["Ref"]]["Period"] for alarm in preference["Alarms"]} == {60}


def test_nobody_calls_the_api_unsigned_unless_a_parameter_says_so(
    template: Any, resources: dict[str, Any]
) -> None:
    (route,) = resources["Api"]["DefinitionBody"]["paths"].values()
    (method,) = route.values()
    assert method["x-amazon-apigateway-auth"] == {"type": {"Ref": "ApiAuthorization"}}
    assert template["Parameters"]["ApiAuthorization"]["Default"] == "AWS_IAM"


def test_the_api_sheds_load_before_the_functions_do(template: Any, resources: dict[str, Any]) -> None:
    assert resources["Api"]["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": {"Ref": "RequestRate"},
        "ThrottlingBurstLimit": {"Ref": "RequestBurst"},
    }
    concurrency = {"Ref": "RequestConcurrency"}
    assert resources["RequestFunction"]["ReservedConcurrentExecutions"] == concurrency
    defaults = {name: each.get("Default") for name, each in template["Parameters"].items()}
    # A burst that the function cannot take is answered 503 by the API, and 429 is what it is.
    assert defaults["RequestBurst"] <= defaults["RequestConcurrency"]


def test_the_access_log_says_who_and_how_but_not_what(resources: dict[str, Any]) -> None:
    settings = resources["Api"]["AccessLogSettings"]
    assert settings["DestinationArn"] == {"Fn::GetAtt": "ApiLog.Arn"}
    line = json.loads(settings["Format"])
    assert set(line.values()) == {
        "$context.error.responseType",
        "$context.httpMethod",
        "$context.identity.sourceIp",
        "$context.identity.userArn",
        "$context.integration.requestId",
        "$context.requestId",
        "$context.requestTime",
        "$context.responseLatency",
        "$context.responseLength",
        "$context.status",
    }


def test_every_parameter_is_used_and_logs_end(template: Any, resources: dict[str, Any]) -> None:
    used = (ROOT / "template.yaml").read_text()
    for name in template["Parameters"]:
        assert re.search(rf"!Ref {name}\b|\$\{{{name}\}}", used), name
    for function in FUNCTIONS:
        log = function.replace("Function", "Log")
        assert resources[function]["LoggingConfig"] == {"LogGroup": {"Ref": log}}
    logs = [
        each["Properties"]
        for each in template["Resources"].values()
        if each["Type"] == "AWS::Logs::LogGroup"
    ]
    assert [each["RetentionInDays"] for each in logs] == [{"Ref": "LogRetention"}] * 5
    assert set(template["Outputs"]) == {
        "RequestFunction",
        "Url",
        "InputBucket",
        "OutputBucket",
        "DeadLetterQueue",
        "StateMachine",
    }


def test_the_cloud_run_job() -> None:
    """https://cloud.google.com/run/docs/reference/rest/v1/namespaces.jobs#JobSpec"""
    job = yaml.safe_load((ROOT / "job.yaml").read_text())
    service = yaml.safe_load((ROOT / "service.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("run.googleapis.com/v1", "Job")
    execution = job["spec"]["template"]
    assert execution["metadata"]["annotations"] == {"run.googleapis.com/execution-environment": "gen2"}
    assert execution["spec"].keys() == {"taskCount", "parallelism", "template"}
    assert execution["spec"]["parallelism"] == 0, "a number may not be over an execution's count of tasks"
    task = execution["spec"]["template"]["spec"]
    assert task.keys() == {"serviceAccountName", "timeoutSeconds", "maxRetries", "containers"}
    assert task["maxRetries"] <= 10
    (container,) = task["containers"]
    assert container.keys() == {"image", "command", "args", "env", "resources"}
    serving = service["spec"]["template"]["spec"]
    (served,) = serving["containers"]
    assert (container["image"], task["serviceAccountName"]) == (
        served["image"],
        serving["serviceAccountName"],
    )
    assert all(each in served["env"] for each in container["env"])
    settings = Settings.from_env({each["name"]: each["value"] for each in container["env"]})
    assert settings.input_uri
    assert settings.output_uri in container["args"]
    (line,) = re.findall(r"^CMD (.*)$", (ROOT / "Dockerfile.cloudrun").read_text(), re.M)
    assert container["command"] == [*json.loads(line)[:2], "handler"]


def test_the_settings_of_a_service_with_a_job() -> None:
    """Those that service.yaml leaves to be uncommented are ones that are taken."""
    lines = re.findall(r"^ +# - (\{ name: .*\})$", (ROOT / "service.yaml").read_text(), re.M)
    env = {each["name"]: each["value"] for each in map(yaml.safe_load, lines)}
    settings = Settings.from_env(env)
    assert (settings.job, settings.large_bytes) == (env["JOB"], int(env["LARGE_BYTES"]))
    job = yaml.safe_load((ROOT / "job.yaml").read_text())
    assert env["JOB"].endswith(f"/jobs/{job['metadata']['name']}")


def test_what_the_definition_names_exists(resources: dict[str, Any]) -> None:
    machine = resources["StateMachine"]
    assert (ROOT / machine["DefinitionUri"]).samefile(DEFINITION)
    substituted = set(re.findall(r"\$\{(\w+)\}", DEFINITION.read_text()))
    assert substituted == set(machine["DefinitionSubstitutions"])
    states = filled_in()["States"]
    for name, state in (*states.items(), *states["Parts"]["ItemProcessor"]["States"].items()):
        following = [each["Next"] for each in (*state.get("Choices", ()), *state.get("Catch", ()))]
        following += [state[member] for member in ("Next", "Default") if member in state]
        assert set(following) <= set(states), name
    assert machine["Type"] == "STANDARD"


def test_a_run_may_do_what_its_definition_does_and_no_more(resources: dict[str, Any]) -> None:
    allowed = {
        (action, json.dumps(target))
        for actions, targets in statements(resources, "StateMachineRole")
        for action in actions
        for target in targets
        if target != "*"
    }
    function = json.dumps({"Fn::GetAtt": "PartFunction.Arn"})
    plan = json.dumps({"Fn::Sub": "${OutputBucket.Arn}/${OutputPrefix}/*/plan.json"})
    results = json.dumps({"Fn::Sub": "${OutputBucket.Arn}/_runs/*"})
    assert allowed == {
        ("lambda:InvokeFunction", function),
        ("s3:GetObject", plan),
        ("s3:GetObject", results),
        ("s3:PutObject", results),
        ("s3:ListMultipartUploadParts", results),
        ("s3:AbortMultipartUpload", results),
    }
    substitutions = resources["StateMachine"]["DefinitionSubstitutions"]
    assert substitutions["PartFunction"] == {"Fn::GetAtt": "PartFunction.Arn"}
    assert (substitutions["ResultBucket"], substitutions["ResultPrefix"]) == (
        {"Ref": "OutputBucket"},
        "_runs",
    )
    assert resources["PartsPolicy"]["RoleName"] == {"Ref": "StateMachineRole"}
    start, watch = resources["PartsPolicy"]["PolicyDocument"]["Statement"]
    assert (start["Action"], start["Resource"]) == ("states:StartExecution", {"Ref": "StateMachine"})
    assert watch["Action"] == ["states:DescribeExecution", "states:StopExecution"]
    label = filled_in()["States"]["Parts"]["Label"]
    for each, suffix in zip(watch["Resource"], (":*", f"/{label}:*"), strict=True):
        text, names = each["Fn::Sub"]
        assert text.endswith(f":execution:${{Name}}{suffix}")
        assert names == {"Name": {"Fn::GetAtt": "StateMachine.Name"}}
    (only,) = policy_of(resources, "LargeUploadRole")
    assert (only["Action"], only["Resource"]) == ("states:StartExecution", {"Ref": "StateMachine"})


def test_the_log_of_runs_has_no_data(resources: dict[str, Any]) -> None:
    logging = resources["StateMachine"]["Logging"]
    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ERROR", False)


def test_parts_run_as_many_at_a_time_as_their_function_may(
    template: Any, resources: dict[str, Any]
) -> None:
    """And a part has as long as its function, and a minute for the way."""
    concurrency = {"Ref": "PartConcurrency"}
    assert resources["PartFunction"]["ReservedConcurrentExecutions"] == concurrency
    assert resources["StateMachine"]["DefinitionSubstitutions"]["PartConcurrency"] == concurrency
    longest = max(template["Parameters"]["BatchTimeout"]["AllowedValues"])
    states = filled_in()["States"]
    tasks = [*states.values(), *states["Parts"]["ItemProcessor"]["States"].values()]
    assert {each["TimeoutSeconds"] for each in tasks if each["Type"] == "Task"} == {longest + 60}


def test_the_cloud_run_service() -> None:
    service = yaml.safe_load((ROOT / "service.yaml").read_text())
    template = service["spec"]["template"]
    spec = template["spec"]
    (container,) = spec["containers"]
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] == "/healthz"
    env = {each["name"]: each["value"] for each in container["env"]}
    settings = Settings.from_env({"K_SERVICE": "sklearn-function", **env})
    assert settings.timeout == spec["timeoutSeconds"]
    assert int(env["THREADS"]) == spec["containerConcurrency"]
    assert settings.input_uri
    assert settings.output_uri
    assert template["metadata"]["annotations"]["run.googleapis.com/startup-cpu-boost"] == "true"
