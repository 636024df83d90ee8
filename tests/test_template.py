"""The SAM template, the Cloud Run service and job: what must hold of them before anything is deployed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from handler.settings import Settings
from tests.support.containers import checkov, sam

ROOT = Path(__file__).resolve().parents[1]


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


def test_both_functions_are_one_image(template: Any) -> None:
    request, batch = (template["Resources"][name] for name in ("RequestFunction", "BatchFunction"))
    assert request["Metadata"] == batch["Metadata"]
    dockerfile = (ROOT / request["Metadata"]["Dockerfile"]).read_text()
    assert f" AS {request['Metadata']['DockerBuildTarget']}\n" in dockerfile
    assert {request["Properties"]["PackageType"], batch["Properties"]["PackageType"]} == {"Image"}


def test_outputs_cannot_start_a_run(resources: dict[str, Any]) -> None:
    pattern = resources["UploadRule"]["EventPattern"]
    assert pattern["detail"]["bucket"]["name"] == [{"Ref": "InputBucket"}]
    keys = pattern["detail"]["object"]["key"]
    suffixes = [each["wildcard"]["Fn::Sub"].removeprefix("${InputPrefix}/*") for each in keys]
    assert suffixes == [".csv", ".csv.gz", ".csv.zst"]
    assert pattern["detail"]["object"]["size"] == [{"numeric": [">", 0]}]
    assert "NotificationConfiguration" not in resources["OutputBucket"]
    variables = resources["BatchFunction"]["Environment"]["Variables"]
    assert variables["INPUT_URI"] == {"Fn::Sub": "s3://${InputBucket}/${InputPrefix}"}
    assert variables["OUTPUT_URI"] == {"Fn::Sub": "s3://${OutputBucket}/${OutputPrefix}"}


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
    assert resources["UploadRule"]["Targets"][0]["DeadLetterConfig"] == {"Arn": dead}
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
        ("Errors", str({"Ref": "RequestFunction"})),
        ("Errors", str({"Ref": "BatchFunction"})),
    }


def test_no_policy_has_a_wildcard_but_for_keys_below_a_prefix(resources: dict[str, Any]) -> None:
    for role in ("RequestRole", "BatchRole"):
        assert "ManagedPolicyArns" not in resources[role]
        for actions, targets in statements(resources, role):
            assert not [action for action in actions if "*" in action]
            for target in targets:
                text = target.get("Fn::GetAtt") or target["Fn::Sub"]
                assert "*" not in text or re.fullmatch(r"\$\{\w+Bucket\.Arn\}/\$\{\w+Prefix\}/\*", text)
    for name in ("RequestFunction", "BatchFunction"):
        assert "Role" in resources[name]
        assert "Policies" not in resources[name]


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
        "lambda.amazonaws.com",
        "lambda.amazonaws.com",
    ]
    for each in trusting:
        assert each["Condition"] == (
            {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": "UploadRule.Arn"}}}
            if each["Principal"]["Service"] == "events.amazonaws.com"
            else {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
        )
    assert "${AWS::AccountId}:${Api}/*" in resources["ApiPermission"]["SourceArn"]["Fn::Sub"]


def test_every_object_that_may_be_read_may_be_listed_and_no_other(resources: dict[str, Any]) -> None:
    """To those who may not list it, with its key as s3:prefix, a missing object is "forbidden"."""
    listable = set()
    readable = set()
    for each in policy_of(resources, "BatchRole"):
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


def test_the_batch_function_reads_inputs_and_writes_outputs_only(resources: dict[str, Any]) -> None:
    allowed = {
        (action, target["Fn::Sub"])
        for actions, targets in statements(resources, "BatchRole")
        for action in actions
        for target in targets
        if "Fn::Sub" in target
    }
    source, target = "${InputBucket.Arn}/${InputPrefix}/*", "${OutputBucket.Arn}/${OutputPrefix}/*"
    assert allowed == {
        ("s3:GetObject", source),
        ("s3:GetObject", target),
        ("s3:PutObject", target),
        ("s3:AbortMultipartUpload", target),
    }
    everywhere = {action for actions, _ in statements(resources, "RequestRole") for action in actions}
    assert everywhere == {"logs:CreateLogStream", "logs:PutLogEvents"}


@pytest.mark.parametrize("bucket", ["InputBucket", "OutputBucket"])
def test_buckets_are_private_encrypted_kept_and_tidied(
    template: Any, resources: dict[str, Any], bucket: str
) -> None:
    told = resources[bucket]
    assert set(told["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(told["PublicAccessBlockConfiguration"]) == 4
    assert told["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    (rule,) = told["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]) == ("Enabled", 1)
    assert template["Resources"][bucket]["DeletionPolicy"] == "Retain"


def test_requests_move_to_a_new_version_gradually_and_back_where_they_fail(
    template: Any, resources: dict[str, Any]
) -> None:
    function = resources["RequestFunction"]
    alias = function["AutoPublishAlias"]
    (route,) = resources["Api"]["DefinitionBody"]["paths"].values()
    uri = route["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
    assert uri.endswith(f"/functions/${{RequestFunction.Arn}}:{alias}/invocations")
    assert resources["ApiPermission"]["FunctionName"] == {"Ref": "RequestFunction.Alias"}
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
    for function, log in (("RequestFunction", "RequestLog"), ("BatchFunction", "BatchLog")):
        assert resources[function]["LoggingConfig"] == {"LogGroup": {"Ref": log}}
    logs = [
        each["Properties"]
        for each in template["Resources"].values()
        if each["Type"] == "AWS::Logs::LogGroup"
    ]
    assert logs == [{"RetentionInDays": {"Ref": "LogRetention"}}] * 3
    assert set(template["Outputs"]) == {
        "RequestFunction",
        "Url",
        "InputBucket",
        "OutputBucket",
        "DeadLetterQueue",
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
