/* msg.c - the names of status codes and message types, for logs and for people; which names and addresses are legal. */
#include "proto/msg.h"

static const char *const status_names[WIRE_STATUS_COUNT] = {
	[WIRE_OK] = "OK",
	[WIRE_FENCED] = "FENCED",
	[WIRE_GAP] = "GAP",
	[WIRE_NOT_FOUND] = "NOT_FOUND",
	[WIRE_INVALID_UNIT] = "INVALID_UNIT",
	[WIRE_BAD_BLOCK] = "BAD_BLOCK",
	[WIRE_NO_SPACE] = "NO_SPACE",
	[WIRE_DISK_ERROR] = "DISK_ERROR",
	[WIRE_SILENT] = "SILENT",
	[WIRE_NOT_OWNER] = "NOT_OWNER",
	[WIRE_STALE] = "STALE",
	[WIRE_BUSY] = "BUSY",
	[WIRE_EXISTS] = "EXISTS",
	[WIRE_ALREADY] = "ALREADY",
	[WIRE_REFUSED] = "REFUSED",
	[WIRE_BAD_REQUEST] = "BAD_REQUEST",
	[WIRE_WRONG_CLUSTER] = "WRONG_CLUSTER",
	[WIRE_WRONG_PEER] = "WRONG_PEER",
	[WIRE_VERSION] = "VERSION",
	[WIRE_NOT_LEADER] = "NOT_LEADER",
	[WIRE_TOO_FEW] = "TOO_FEW",
	[WIRE_IO_ERROR] = "IO_ERROR",
	[WIRE_WAIT] = "WAIT",
};

const char *wire_status_name(enum wire_status status)
{
	if ((unsigned)status >= WIRE_STATUS_COUNT)
		return "?";
	return status_names[status];
}

static const char *const type_names[] = {
	[MSG_HELLO] = "HELLO",
	[MSG_HELLO_OK] = "HELLO_OK",
	[MSG_WRITE] = "WRITE",
	[MSG_WRITE_OK] = "WRITE_OK",
	[MSG_READ] = "READ",
	[MSG_READ_OK] = "READ_OK",
	[MSG_COPY] = "COPY",
	[MSG_COPY_OK] = "COPY_OK",
	[MSG_REPAIR] = "REPAIR",
	[MSG_REPAIR_OK] = "REPAIR_OK",
	[MSG_HEARTBEAT] = "HEARTBEAT",
	[MSG_HEARTBEAT_OK] = "HEARTBEAT_OK",
	[MSG_CREATE] = "CREATE",
	[MSG_CREATE_OK] = "CREATE_OK",
	[MSG_SYNC] = "SYNC",
	[MSG_SYNC_OK] = "SYNC_OK",
	[MSG_VERSIONS] = "VERSIONS",
	[MSG_VERSIONS_OK] = "VERSIONS_OK",
	[MSG_INVALIDATE] = "INVALIDATE",
	[MSG_INVALIDATE_OK] = "INVALIDATE_OK",
	[MSG_JOIN] = "JOIN",
	[MSG_JOIN_OK] = "JOIN_OK",
	[MSG_MEND_BEGIN] = "MEND_BEGIN",
	[MSG_MEND_BEGIN_OK] = "MEND_BEGIN_OK",
	[MSG_MEND_END] = "MEND_END",
	[MSG_MEND_END_OK] = "MEND_END_OK",
	[MSG_RELEASE] = "RELEASE",
	[MSG_RELEASE_OK] = "RELEASE_OK",
	[MSG_BYE] = "BYE",
	[MSG_SESSION] = "SESSION",
	[MSG_SESSION_OK] = "SESSION_OK",
	[MSG_KEEPALIVE] = "KEEPALIVE",
	[MSG_KEEPALIVE_OK] = "KEEPALIVE_OK",
	[MSG_ATTACH] = "ATTACH",
	[MSG_ATTACH_OK] = "ATTACH_OK",
	[MSG_DETACH] = "DETACH",
	[MSG_DETACH_OK] = "DETACH_OK",
	[MSG_TABLE] = "TABLE",
	[MSG_TABLE_OK] = "TABLE_OK",
	[MSG_LEASE] = "LEASE",
	[MSG_LEASE_OK] = "LEASE_OK",
	[MSG_LEASE_RETURN] = "LEASE_RETURN",
	[MSG_LEASE_RETURN_OK] = "LEASE_RETURN_OK",
	[MSG_CHANGE] = "CHANGE",
	[MSG_CHANGE_OK] = "CHANGE_OK",
	[MSG_REPORT] = "REPORT",
	[MSG_REPORT_OK] = "REPORT_OK",
	[MSG_ADMIN] = "ADMIN",
	[MSG_ADMIN_OK] = "ADMIN_OK",
	[MSG_VOLUMES] = "VOLUMES",
	[MSG_VOLUMES_OK] = "VOLUMES_OK",
	[MSG_LIST] = "LIST",
	[MSG_REPAIR_JOB] = "REPAIR_JOB",
	[MSG_SCRUBBED] = "SCRUBBED",
	[MSG_DELETE] = "DELETE",
	[MSG_SERVERS] = "SERVERS",
	[MSG_DETACHED] = "DETACHED",
	[MSG_RESIZED] = "RESIZED",
};

const char *msg_type_name(unsigned type)
{
	if (type >= ARRAY_SIZE(type_names) || !type_names[type])
		return "?";
	return type_names[type];
}

static bool is_name_character(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

bool name_is_legal(const char *name)
{
	size_t length = strnlen(name, NAME_BYTES);

	if (length == 0 || length == NAME_BYTES || name[0] == '-' || name[0] == '.')
		return false;
	for (size_t i = 0; i < length; i++)
		if (!is_name_character(name[i]))
			return false;
	return true;
}

bool address_is_legal(const char *address)
{
	size_t length = strnlen(address, ADDRESS_BYTES);

	if (length == ADDRESS_BYTES)
		return false;
	for (size_t i = 0; i < length; i++)
		if (address[i] < 0x20 || address[i] > 0x7e)
			return false;
	return true;
}
