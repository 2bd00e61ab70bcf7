/* meterplex_call.h: what the application floor (X_commands.c, X_queries.c) of every room works with, without httpd:
 * who asks (principal), a call in progress, the outcome as a problem, transactions, and the appending of events and
 * audit rows. The same code serves a request, a job and meterplexctl.
 *
 * Ownership: everything allocated here lives in call->pool unless said otherwise, and so must what is handed in and kept. A
 * call, its transactions and their rows belong to one thread. In httpd calls are made in children, from child_init on; SQL
 * is that of PostgreSQL 15 and later, SQLSTATE its appendix A.
 */
#ifndef METERPLEX_CALL_H
#define METERPLEX_CALL_H

#include <time.h>

#include <apr_pools.h>
#include <apr_tables.h>
#include <apr_time.h>

#include "../lib/mpx_decimal.h"
#include "../lib/mpx_json.h"
#include "../lib/mpx_net.h"
#include "../lib/mpx_rate.h"
#include "../lib/mpx_schema.h"
#include "../lib/mpx_secret.h"
#include "../lib/mpx_time.h"
#include "../lib/mpx_uuid.h"

#define MPX_DECLARE(type) __attribute__((visibility("default"))) type
#define MPX_MUST_CHECK __attribute__((warn_unused_result))
#define MPX_PRINTF(template, first) __attribute__((format(printf, template, first)))

/* Returned by whatever has set call->problem. Any other failure code is a programming error and becomes `internal`. */
#define MPX_FAILED (APR_OS_START_USERERR + 101)

/* --- Problems (RFC 9457) --------------------------------------------------------------------------------------- */

/* One value for each code of the API contract; status and title follow from it. */
typedef enum mpx_problem_code {
    MPX_P_NONE = 0,
    MPX_P_BAD_JSON, MPX_P_BAD_REQUEST, MPX_P_BAD_CURSOR, MPX_P_UNAUTHENTICATED, MPX_P_INVALID_API_KEY,
    MPX_P_EXPIRED_API_KEY, MPX_P_REVOKED_API_KEY, MPX_P_INVALID_TOKEN, MPX_P_EXPIRED_TOKEN, MPX_P_MFA_REQUIRED,
    MPX_P_FORBIDDEN, MPX_P_INSUFFICIENT_SCOPE, MPX_P_TENANT_SUSPENDED, MPX_P_CSRF_FAILED, MPX_P_NOT_FOUND,
    MPX_P_METHOD_NOT_ALLOWED, MPX_P_NOT_IMPLEMENTED, MPX_P_REQUEST_TIMEOUT, MPX_P_CONFLICT, MPX_P_IDEMPOTENCY_IN_PROGRESS,
    MPX_P_PRECONDITION_FAILED, MPX_P_PAYLOAD_TOO_LARGE, MPX_P_UNSUPPORTED_MEDIA_TYPE, MPX_P_VALIDATION_FAILED,
    MPX_P_IDEMPOTENCY_MISMATCH, MPX_P_INVALID_TRANSITION, MPX_P_QUOTA_EXCEEDED, MPX_P_RATE_LIMITED, MPX_P_INTERNAL,
    MPX_P_UPSTREAM_ERROR, MPX_P_UNAVAILABLE, MPX_P_CIRCUIT_OPEN, MPX_P_UPSTREAM_TIMEOUT,
    MPX_P_COUNT
} mpx_problem_code_e;

typedef struct mpx_problem {
    mpx_problem_code_e code;       /* MPX_P_NONE: no problem */
    const char *detail;            /* an English sentence for the caller; never SQL, a path, a host or a secret */
    apr_array_header_t *errors;    /* mpx_field_error_t, or NULL */
    int retry_after;               /* seconds; 0: no such field */
    const char *violated_policies; /* JSON array text, or NULL (draft-ietf-httpapi-ratelimit-headers) */
} mpx_problem_t;

MPX_DECLARE(int) mpx_problem_status(mpx_problem_code_e code);        /* 400..599 */
MPX_DECLARE(const char *) mpx_problem_name(mpx_problem_code_e code); /* "validation_failed" */
MPX_DECLARE(const char *) mpx_problem_title(mpx_problem_code_e code);

/* --- Principals -------------------------------------------------------------------------------------------------- */

typedef enum mpx_principal_kind {
    MPX_PRINCIPAL_API_KEY = 1,
    MPX_PRINCIPAL_SYSTEM = 2 /* a job, or meterplexctl on behalf of the operator */
} mpx_principal_kind_e;

typedef struct mpx_principal {
    mpx_principal_kind_e kind;
    mpx_uuid_t id;          /* of the key, ... */
    mpx_uuid_t tenant;      /* the tenant that it belongs to */
    const char *tenant_slug;
    const char *scopes;     /* space-separated, each once, sorted; "" for none */
    int platform_admin;     /* holds platform:admin in the platform tenant */
    mpx_rate_t rate;        /* the key's own limit; count 0: none */
    int env;                /* mpx_apikey_env_e */
} mpx_principal_t;

/* Does the principal hold the scope? A platform administrator holds every permission of the API's table, but of the free
 * scopes of gated locations only those that it carries. MPX_PRINCIPAL_SYSTEM holds everything. */
MPX_DECLARE(int) mpx_principal_has(const mpx_principal_t *principal, const char *scope);
/* Is it one of the permissions of the API (not a free scope of a gated location)? */
MPX_DECLARE(int) mpx_permission_known(const char *scope);
/* They all, from index 0; NULL after the last. */
MPX_DECLARE(const char *) mpx_permission_name(int index);
/* "key_01h..." ; "system" for MPX_PRINCIPAL_SYSTEM */
MPX_DECLARE(const char *) mpx_principal_text(apr_pool_t *pool, const mpx_principal_t *principal);

/* --- Time --------------------------------------------------------------------------------------------------------- */

/* Microseconds of the monotonic clock, for deadlines and ages within one machine: it takes no notice when somebody sets
 * the wall clock. Any thread. */
static inline apr_time_t mpx_monotonic(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (apr_time_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- A call in progress ------------------------------------------------------------------------------------------ */

typedef struct mpx_db mpx_db_t; /* one connection */
typedef struct mpx_tx mpx_tx_t; /* one transaction, or a savepoint inside one */
typedef struct mpx_db_source mpx_db_source_t;

typedef struct mpx_call {
    apr_pool_t *pool;
    mpx_db_source_t *source;          /* where a connection comes from */
    mpx_tx_t *outer;                  /* the transaction of an Idempotency-Key, or NULL; commands never look at it */
    const mpx_principal_t *principal; /* NULL: not authenticated */
    mpx_uuid_t tenant;                /* the tenant acted in: row level security shows its rows only */
    int acting_as_platform;           /* a platform administrator in a tenant not its own */
    const mpx_rootkey_t *rootkey;     /* the first of the configured keys */
    int gave_up;                      /* no connection was to be had once: the rest of the call does not wait again */
    int unreachable;                  /* set when the database did not answer at all, which is not the same as a refusal */
    int patience;                     /* ms that its transactions wait for a lock (a statement: 500 more); 0: long */
    const char *request_id;
    const char *client;               /* address, for audit rows; or NULL */
    apr_time_t now;                   /* one clock reading for the whole call */
    mpx_problem_t problem;
} mpx_call_t;

/* Note a problem. The first one noted stays. @return MPX_FAILED, so that `return mpx_fail(...)` reads well */
MPX_DECLARE(apr_status_t) mpx_fail(mpx_call_t *call, mpx_problem_code_e code, const char *format, ...) MPX_PRINTF(3, 4);
/* 422 with field errors. @param errors array of mpx_field_error_t, kept */
MPX_DECLARE(apr_status_t) mpx_fail_fields(mpx_call_t *call, apr_array_header_t *errors);
/* A problem (mostly 409 or 422) about one field. */
MPX_DECLARE(apr_status_t) mpx_fail_field(mpx_call_t *call, mpx_problem_code_e code, const char *pointer,
                                         const char *field_code, const char *detail);

/* A new time-ordered id (UUIDv7 of the present moment, so that ids made within a call sort as they were made). */
MPX_DECLARE(mpx_uuid_t) mpx_call_new_id(mpx_call_t *call);

/* --- Database ------------------------------------------------------------------------------------------------------ */

/* A connection source. The server's borrows from mod_dbd's pool with a bounded wait; meterplexctl's is one connection.
 * borrow:    APR_SUCCESS, APR_TIMEUP (none free in time) or APR_EGENERAL (database away)
 * give_back: broken is true when the connection must not be used again
 * alive:     polled while a statement is waited for; 0 ends the wait (the database was found dead). May be NULL. */
struct mpx_db_source {
    apr_status_t (*borrow)(mpx_db_source_t *self, apr_pool_t *pool, mpx_db_t **db);
    void (*give_back)(mpx_db_source_t *self, mpx_db_t *db, int broken);
    int (*alive)(mpx_db_source_t *self);
    /* @param kind  SQLSTATE, by which repetitions are told: of one kind not every message needs to be written */
    void (*log)(mpx_db_source_t *self, int severity /* APLOG_ERR, ... */, const char *kind, const char *message);
    apr_interval_time_t statement_timeout; /* longest wait for one statement */
};

typedef struct mpx_param {
    unsigned oid;      /* 0: text format, the type inferred; else binary format of that type */
    const char *value; /* NULL: SQL NULL; text is NUL-terminated */
    apr_size_t len;    /* binary only */
} mpx_param_t;

/* Parameter constructors; what they allocate lives in pool. */
MPX_DECLARE(mpx_param_t) mpx_param_text(const char *value);
MPX_DECLARE(mpx_param_t) mpx_param_int(apr_pool_t *pool, apr_int64_t value); /* int8 */
MPX_DECLARE(mpx_param_t) mpx_param_bool(int value);
/* value must outlive the statement; NULL: SQL NULL */
MPX_DECLARE(mpx_param_t) mpx_param_uuid(const mpx_uuid_t *value);
MPX_DECLARE(mpx_param_t) mpx_param_time(apr_pool_t *pool, apr_time_t value); /* timestamptz, exact */
MPX_DECLARE(mpx_param_t) mpx_param_bytes(const void *value, apr_size_t len); /* bytea */
MPX_DECLARE(mpx_param_t) mpx_param_text_array(apr_pool_t *pool, const char *const *values, int n); /* text[] */

/* Arrays in binary format, built element by element, for set-wise statements (unnest). */
typedef struct mpx_param_array mpx_param_array_t;
typedef enum mpx_array_type {
    MPX_ARRAY_TEXT, MPX_ARRAY_UUID, MPX_ARRAY_INT8, MPX_ARRAY_TIMESTAMPTZ, MPX_ARRAY_BYTEA
} mpx_array_type_e;
MPX_DECLARE(mpx_param_array_t *) mpx_param_array_make(apr_pool_t *pool, mpx_array_type_e type, apr_size_t bytes_hint);
MPX_DECLARE(void) mpx_param_array_text(mpx_param_array_t *array, const char *value, apr_size_t len); /* NULL: SQL NULL */
MPX_DECLARE(void) mpx_param_array_uuid(mpx_param_array_t *array, const mpx_uuid_t *value);
MPX_DECLARE(void) mpx_param_array_int8(mpx_param_array_t *array, apr_int64_t value);
MPX_DECLARE(void) mpx_param_array_time(mpx_param_array_t *array, apr_time_t value);
MPX_DECLARE(void) mpx_param_array_bytes(mpx_param_array_t *array, const void *value, apr_size_t len);
MPX_DECLARE(mpx_param_t) mpx_param_array(mpx_param_array_t *array); /* ends the building */

/* Rows of a result, in text format; they live in call->pool. */
typedef struct mpx_rows mpx_rows_t;
MPX_DECLARE(int) mpx_rows_count(const mpx_rows_t *rows);
MPX_DECLARE(apr_int64_t) mpx_rows_affected(const mpx_rows_t *rows);
MPX_DECLARE(const char *) mpx_rows_text(const mpx_rows_t *rows, int row, int column); /* NULL for SQL NULL */
MPX_DECLARE(apr_int64_t) mpx_rows_int(const mpx_rows_t *rows, int row, int column);   /* 0 for NULL */
MPX_DECLARE(int) mpx_rows_bool(const mpx_rows_t *rows, int row, int column);
MPX_DECLARE(int) mpx_rows_uuid(const mpx_rows_t *rows, int row, int column, mpx_uuid_t *out); /* 0 for NULL */
/* A timestamptz selected as core.epoch_us(...). @return 0 for NULL */
MPX_DECLARE(int) mpx_rows_time(const mpx_rows_t *rows, int row, int column, apr_time_t *out);
MPX_DECLARE(int) mpx_rows_bytes(const mpx_rows_t *rows, int row, int column, apr_pool_t *pool, const unsigned char **out,
                                apr_size_t *len);

#define MPX_SCHEMA_VERSION 8 /* the last of migrations/ that this code needs */

#define MPX_TX_WRITE 0u
#define MPX_TX_READ 1u     /* READ ONLY; a query that may be given to a replica */
#define MPX_TX_PLATFORM 2u /* meterplex.platform is on in it: the tables that have a platform policy show all tenants.
                            * Platform administrators' calls, jobs and meterplexctl ask for it, and what must be unique
                            * over all tenants. */

/* Run body in a transaction with call->tenant set for row level security (SET LOCAL meterplex.tenant_id), and commit.
 * The body is run again, from the start, after 40001 and 40P01 (at most 3 times) and, where nothing can have been
 * committed, once after a lost connection: it must depend on nothing that an earlier run left behind.
 * When the body returns anything but APR_SUCCESS the transaction is rolled back and that value returned.
 * Inside an Idempotency-Key's transaction it is a savepoint.
 * A failed statement sets call->problem from its SQLSTATE (core_db_problem.c); a body that wants to treat one itself puts
 * a mark before it, asks mpx_tx_state() after MPX_FAILED, and goes back to the mark.
 * @return APR_SUCCESS, MPX_FAILED (call->problem set), or what body returned */
typedef apr_status_t (mpx_tx_body_fn)(mpx_tx_t *tx, void *baton);
MPX_DECLARE(apr_status_t) mpx_tx_run(mpx_call_t *call, unsigned mode, mpx_tx_body_fn *body, void *baton) MPX_MUST_CHECK;

MPX_DECLARE(mpx_call_t *) mpx_tx_call(mpx_tx_t *tx); /* the call that it is part of */
/* One statement with parameters, waited for no longer than the source's statement_timeout and the call's patience.
 * @param sql   one statement with $1 to $nparams
 * @param rows  set on success to what it gave, in call->pool; NULL: nobody wants them
 * @return APR_SUCCESS; MPX_FAILED with call->problem from the SQLSTATE; or what makes mpx_tx_run() begin again */
MPX_DECLARE(apr_status_t) mpx_tx_query(mpx_tx_t *tx, const char *sql, const mpx_param_t *params, int nparams,
                                       mpx_rows_t **rows) MPX_MUST_CHECK;
/* Change the tenant that row level security shows, within the transaction (jobs that serve many tenants). */
MPX_DECLARE(apr_status_t) mpx_tx_set_tenant(mpx_tx_t *tx, const mpx_uuid_t *tenant) MPX_MUST_CHECK;
/* SET LOCAL meterplex.<name>; name [a-z_]+. */
MPX_DECLARE(apr_status_t) mpx_tx_set(mpx_tx_t *tx, const char *name, const char *value) MPX_MUST_CHECK;
/* SQLSTATE and constraint name of the last failed statement, "" if none. */
MPX_DECLARE(const char *) mpx_tx_state(const mpx_tx_t *tx);
MPX_DECLARE(const char *) mpx_tx_constraint(const mpx_tx_t *tx);
/* A savepoint around something that may fail; going back clears the noted problem. One at a time. */
MPX_DECLARE(apr_status_t) mpx_tx_mark(mpx_tx_t *tx) MPX_MUST_CHECK;
MPX_DECLARE(apr_status_t) mpx_tx_back(mpx_tx_t *tx) MPX_MUST_CHECK;

/* One connection of its own (meterplexctl). @param conninfo libpq connection string or URI
 * @param error an English sentence on failure */
MPX_DECLARE(apr_status_t) mpx_db_source_single(apr_pool_t *pool, const char *conninfo, mpx_db_source_t **source,
                                               const char **error);
/* Statements outside mpx_tx_run (migrations): simple protocol, several allowed. @param error server's message on failure
 * @return APR_SUCCESS; APR_INCOMPLETE when the connection was lost, so that any of them may have been committed; or another
 * status */
MPX_DECLARE(apr_status_t) mpx_db_script(mpx_db_source_t *source, apr_pool_t *pool, const char *sql,
                                        const char **error) MPX_MUST_CHECK;

/* --- Root keys ------------------------------------------------------------------------------------------------------------ */

/* What the database has recorded of root keys, beside those in hand: what core.root_key_standing() says. */
typedef enum mpx_rootkey_standing {
    MPX_ROOTKEY_KNOWN = 0,  /* they are the installation's */
    MPX_ROOTKEY_NEW = 1,    /* none is recorded, or these come along with one that is: they may be recorded */
    MPX_ROOTKEY_STRANGE = 2 /* not the installation's: no API key that there is was made under them */
} mpx_rootkey_standing_e;

/* Of call->rootkey. @param standing set on success */
MPX_DECLARE(apr_status_t) mpx_rootkey_standing(mpx_call_t *call, mpx_rootkey_standing_e *standing) MPX_MUST_CHECK;
/* Record call->rootkey as one of the installation's.
 * @param anyway  also where it is strange; else that is a problem */
MPX_DECLARE(apr_status_t) mpx_rootkey_record(mpx_tx_t *tx, int anyway) MPX_MUST_CHECK;

/* --- Events and audit, in the caller's transaction ------------------------------------------------------------------ */

/* Append a domain event to the outbox: it exists exactly when the transaction commits.
 * @param type "api_key.revoked" @param subject TypeID of the aggregate @param payload JSON object text */
MPX_DECLARE(apr_status_t) mpx_event_append(mpx_tx_t *tx, const char *type, const char *subject,
                                           const char *payload) MPX_MUST_CHECK;
/* Append an audit row: who (call->principal), what ("api_key.create"), to what, from where, in which request.
 * @param details JSON object text or NULL; never a secret */
MPX_DECLARE(apr_status_t) mpx_audit_append(mpx_tx_t *tx, const char *action, const char *target,
                                           const char *details) MPX_MUST_CHECK;

/* --- Versions -----------------------------------------------------------------------------------------------------------
 * A resource's strong entity tag is made of its id and its row's version. */

/* @param if_match value of If-Match, or NULL @return 1 when the row in hand satisfies it (RFC 9110 section 13.1.1) */
MPX_DECLARE(int) mpx_etag_matches(const char *if_match, const mpx_uuid_t *id, apr_int64_t version);

/* --- Lists ------------------------------------------------------------------------------------------------------------ */

/* Keyset page: ask the store for limit + 1 rows after the key; the cursor carries the last shown row's sort key. */
typedef struct mpx_page {
    int limit;         /* 1..200, 50 by default */
    const char *after; /* payload of the cursor, or NULL on the first page */
    const char *scope; /* what the cursor is bound to: route, tenant and filters */
} mpx_page_t;
/* A page ends with the row that takes it past so many bytes, whatever its limit: it is made in memory. Whoever reads rows
 * that may be large stops there, too, one row later. */
#define MPX_PAGE_MAX (4 * 1024 * 1024)

#endif
