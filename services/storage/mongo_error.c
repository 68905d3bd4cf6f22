/* mongo_error: a table of the server's codes that are not a defect of ours.
 *
 * The distinction that matters: is the answer "no" (refused, nothing stored) or "unknown"? Every
 * failure of the network, every step-down, shutdown and time-out is unknown; the caller repeats the
 * request with the same ids. A code that is in no table is ERR_IO, retryable too, and logged with
 * its text by the caller.
 *
 * Source: MongoDB's error_codes.yml (categories NotPrimaryError, ShutdownError, NetworkError,
 * Interruption, ExceededTimeLimitError) and the drivers' specification "Server Discovery and
 * Monitoring", which also tells to read old servers' messages. */
#include "services/storage/mongo_error.h"

#include <mongoc/mongoc.h>
#include <string.h>

static const struct {
    int32_t code;
    enum err error;
    enum mongo_trouble trouble;
} CODES[] = {
    {6, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},            /* HostUnreachable (behind a mongos) */
    {7, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},            /* HostNotFound */
    {13, ERR_UNAVAILABLE, MONGO_TROUBLE_WRITES},         /* Unauthorized */
    {18, ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE},    /* AuthenticationFailed */
    {24, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},           /* LockTimeout */
    {43, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},           /* CursorNotFound */
    {46, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},           /* LockBusy */
    {50, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},           /* MaxTimeMSExpired */
    {64, ERR_UNAVAILABLE, MONGO_TROUBLE_WRITES},         /* WriteConcernFailed */
    {79, ERR_UNAVAILABLE, MONGO_TROUBLE_WRITES},         /* UnknownReplWriteConcern */
    {89, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},           /* NetworkTimeout */
    {91, ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE},    /* ShutdownInProgress */
    {100, ERR_UNAVAILABLE, MONGO_TROUBLE_WRITES},        /* UnsatisfiableWriteConcern */
    {112, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},          /* WriteConflict */
    {133, ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE},   /* FailedToSatisfyReadPreference */
    {134, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},          /* ReadConcernMajorityNotAvailableYet */
    {175, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},          /* QueryPlanKilled */
    {189, ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE},   /* PrimarySteppedDown */
    {202, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},          /* NetworkInterfaceExceededTimeLimit */
    {237, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},          /* CursorKilled */
    {262, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},          /* ExceededTimeLimit */
    {9001, ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE},  /* SocketException */
    {10058, ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE}, /* LegacyNotPrimary */
    {10107, ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE}, /* NotWritablePrimary */
    {11600, ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE}, /* InterruptedAtShutdown */
    {11601, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},        /* Interrupted */
    {11602, ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE}, /* InterruptedDueToReplStateChange */
    {13388, ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},        /* StaleConfig */
    {13435, ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE}, /* NotPrimaryNoSecondaryOk */
    {13436, ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE}, /* NotPrimaryOrSecondary */
    {11000, ERR_EXISTS, MONGO_TROUBLE_NONE},             /* DuplicateKey */
    {11001, ERR_EXISTS, MONGO_TROUBLE_NONE},
    {10334, ERR_INVALID, MONGO_TROUBLE_NONE},    /* BSONObjectTooLarge */
    {22, ERR_INVALID, MONGO_TROUBLE_NONE},       /* InvalidBSON */
    {14031, ERR_NO_SPACE, MONGO_TROUBLE_WRITES}, /* OutOfDiskSpace */
};

/* Servers without a code for it, or with an old one. */
static const struct {
    const char *text;
    enum err error;
    enum mongo_trouble trouble;
} TEXTS[] = {
    {"not master", ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE},
    {"not primary", ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE},
    {"node is recovering", ERR_UNAVAILABLE, MONGO_TROUBLE_UNREACHABLE},
    {"read-only", ERR_UNAVAILABLE, MONGO_TROUBLE_WRITES},
    {"readonly", ERR_UNAVAILABLE, MONGO_TROUBLE_WRITES},
    {"database is locked", ERR_UNAVAILABLE, MONGO_TROUBLE_NONE},
    {"No space left", ERR_NO_SPACE, MONGO_TROUBLE_WRITES},
    {"disk is full", ERR_NO_SPACE, MONGO_TROUBLE_WRITES},
};

enum err mongo_server_error(int32_t code, const char *message, enum mongo_trouble *trouble) {
    for (size_t i = 0; i < sizeof(CODES) / sizeof(CODES[0]); i++) {
        if (CODES[i].code == code) {
            *trouble = CODES[i].trouble;
            return CODES[i].error;
        }
    }
    for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
        if (strstr(message, TEXTS[i].text) != NULL) {
            *trouble = TEXTS[i].trouble;
            return TEXTS[i].error;
        }
    }
    *trouble = MONGO_TROUBLE_NONE;
    return ERR_IO;
}

enum err mongo_error(const bson_error_t *error, enum mongo_trouble *trouble) {
    if (error->domain == MONGOC_ERROR_CLIENT && error->code == MONGOC_ERROR_CLIENT_TOO_BIG) {
        *trouble = MONGO_TROUBLE_NONE;
        return ERR_INVALID;
    }
    switch (error->domain) {
    case MONGOC_ERROR_SERVER_SELECTION:
    case MONGOC_ERROR_STREAM:
    case MONGOC_ERROR_PROTOCOL:
    case MONGOC_ERROR_CLIENT: /* authentication */
    case MONGOC_ERROR_SASL:
    case MONGOC_ERROR_SCRAM:
    case MONGOC_ERROR_POOL:
        *trouble = MONGO_TROUBLE_UNREACHABLE;
        return ERR_UNAVAILABLE;
    case MONGOC_ERROR_WRITE_CONCERN:
        *trouble = MONGO_TROUBLE_WRITES;
        return ERR_UNAVAILABLE;
    case MONGOC_ERROR_BSON:
        *trouble = MONGO_TROUBLE_NONE;
        return ERR_INVALID;
    default:
        return mongo_server_error((int32_t)error->code, error->message, trouble);
    }
}
