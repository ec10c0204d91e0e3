"""What the signed-in user of a test's own broker may do: granted, refused, and seen to be in force."""

from __future__ import annotations

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.support.kafka import KafkaServer

_USER = "User:worker"

SIGN_IN = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KAFKA_SASL_MECHANISM": "PLAIN",
    "KAFKA_SASL_USERNAME": "worker",
    "KAFKA_SASL_PASSWORD": "worker-secret",
}


class Acls:
    """The broker's ACLs for the user `worker`, written as a user who may do everything."""

    def __init__(self, server: KafkaServer) -> None:
        self._admin = AdminClient({"bootstrap.servers": server.bootstrap_servers, "log_level": 0})
        self.settings = {**SIGN_IN, "KAFKA_BOOTSTRAP_SERVERS": server.signed_in}

    def all_of(self, prefix: str) -> None:
        """Everything that a worker needs on the topics and groups that begin with `prefix`."""
        for kind in (ResourceType.TOPIC, ResourceType.GROUP):
            self._create(kind, prefix, AclOperation.ALL, AclPermissionType.ALLOW, ResourcePatternType.PREFIXED)

    def deny(self, topic: str, operation: str, kind: str = "TOPIC") -> None:
        """Takes one operation on one topic (or GROUP) away, whatever is allowed otherwise."""
        self._create(
            ResourceType[kind], topic, AclOperation[operation], AclPermissionType.DENY, ResourcePatternType.LITERAL
        )

    def restore(self, topic: str, kind: str = "TOPIC") -> None:
        """Gives back what `deny` has taken away."""
        every = AclBindingFilter(
            ResourceType[kind],
            topic,
            ResourcePatternType.LITERAL,
            _USER,
            "*",
            AclOperation.ANY,
            AclPermissionType.DENY,
        )
        for future in self._admin.delete_acls([every]).values():
            future.result(10)

    def _create(
        self,
        kind: ResourceType,
        name: str,
        operation: AclOperation,
        permission: AclPermissionType,
        pattern: ResourcePatternType,
    ) -> None:
        binding = AclBinding(kind, name, pattern, _USER, "*", operation, permission)
        for future in self._admin.create_acls([binding]).values():
            future.result(10)
