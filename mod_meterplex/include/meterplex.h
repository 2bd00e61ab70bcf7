/* meterplex.h: what core (mod_meterplex.so) offers to the other rooms inside httpd: the request context, the router,
 * answers, the shared segment, jobs, registries of health and metrics. Exported functions of core, as mod_proxy does for
 * mod_proxy_http; load mod_meterplex.so first.
 *
 * Threads and phases: registration functions are for register_hooks and the configuration phases (one thread). Functions of
 * a request or an exchange are for the thread that serves it, which is one at a time. The others may be called by any thread
 * of a child once post_config is over, unless said otherwise.
 * Lifetime: what is given back of a request or an exchange lives in call.pool, to the request's end; what is taken (texts,
 * arrays) is kept and not copied, so it must live as long, unless said otherwise. What is configured lives for the
 * generation: no pointer to it outlives a reload.
 */
#ifndef METERPLEX_H
#define METERPLEX_H

#include "httpd.h"
#include "http_config.h"

#include "meterplex_call.h"

/* Everything else of a room is hidden. The composition root says
 *     MPX_MODULE_EXPORT module AP_MODULE_DECLARE_DATA meterplex_X_module = { STANDARD20_MODULE_STUFF, ... };
 * and the room's private header APLOG_USE_MODULE(meterplex_X), so that LogLevel meterplex_X:debug works in all its files. */
#define MPX_MODULE_EXPORT __attribute__((visibility("default")))

/* --- The request ---------------------------------------------------------------------------------------------------- */

/* mpx_request_t.placed: nothing; by <Location>; by all sections, files and directories included. */
enum { MPX_NOWHERE = 0,
       MPX_LOCATED = 1,
       MPX_PLACED = 2 };

/* Context of a client's request; its subrequests and internal redirects share it. */
typedef struct mpx_request {
    const char *id;                   /* X-Request-Id */
    mpx_trace_t trace;                /* of this server's span */
    int placed;                       /* how far its sections are known; errors of httpd's come at any time */
    int told;                         /* MPX_LOCATED: whether a problem document tells of errors, */
    const request_rec *located;       /* of this one */
    int checking;                     /* authorization goes on */
    int authenticated;                /* mpx_request_principal() has run: its outcome stands */
    int asking;                       /* within mpx_request_known() */
    int unknown;                      /* an expression of authorization's has asked who it is, and it was nobody */
    apr_status_t auth_status;
    const mpx_principal_t *principal; /* or NULL */
    mpx_call_t call;                  /* pool of the first request; tenant: the principal's */
    mpx_problem_t problem;            /* noted for the error filter */
    const request_rec *allowed;       /* authorization let this one pass */
    int admission;                    /* OK, or the status of who refused it (admission, a limit, a route); -1 before */
    const void *admitted;             /* the sections (per_dir_config) that it was asked for */
    void *limit;                      /* limit's own, in call.pool */
    void *usage;                      /* usage's own, in call.pool */
} mpx_request_t;

/* The context of r (of its first request). Never NULL. */
MPX_DECLARE(mpx_request_t *) mpx_request_get(request_rec *r);

/* Authenticate the request once and remember the outcome.
 * @return APR_SUCCESS, *principal NULL when there is no credential; MPX_FAILED with request->problem noted
 * (401; 400 for two credentials; 503 when the database is away and the key is not known here) */
MPX_DECLARE(apr_status_t) mpx_request_principal(request_rec *r, const mpx_principal_t **principal);

/* Who asks, for an expression, which httpd may evaluate before it authenticates (<If>, Require expr): where AuthType is
 * Meterplex the request is authenticated then. @return NULL when there is nobody, or none is asked for */
MPX_DECLARE(const mpx_principal_t *) mpx_request_known(request_rec *r);

/* The room that authenticates (identity). On MPX_FAILED the problem is in request->call.problem. */
typedef apr_status_t (mpx_authenticate_fn)(request_rec *r, mpx_request_t *request, const mpx_principal_t **principal);
MPX_DECLARE(void) mpx_authenticator_register(mpx_authenticate_fn *fn);
/* Does this tenant exist and is it not deleted? For a platform administrator who names one. APR_SUCCESS or MPX_FAILED. */
typedef apr_status_t (mpx_tenant_check_fn)(mpx_call_t *call, const mpx_uuid_t *tenant);
MPX_DECLARE(void) mpx_tenant_check_register(mpx_tenant_check_fn *fn);

/* Is r a subrequest, or leads to an error document? Then it is part of the request that it came from, and nothing of its own
 * is limited or counted. An internal redirect (rewriting, DirectoryIndex) is neither: where it leads is what is served. */
MPX_DECLARE(int) mpx_request_is_part(const request_rec *r);

/* Admission (limits, later quotas): asked when the principal (maybe NULL) is known and allowed: in fixups of gated
 * locations, in the handler of API routes; again where an internal redirect leads, so what has been charged for this
 * request must not be charged again. @return OK, or an HTTP status with request->problem set */
typedef int (mpx_admit_fn)(request_rec *r, mpx_request_t *request);
MPX_DECLARE(void) mpx_admission_register(mpx_admit_fn *fn);
/* The first refusal ends it; the answer is remembered for these sections, a refusal for all of the request. */
MPX_DECLARE(int) mpx_request_admit(request_rec *r);

/* Note a problem for the error filter (RFC 9457): the last one raised is told, if the answer's status is the one it stands
 * for. r may be a subrequest. @return the HTTP status, to return from a hook */
MPX_DECLARE(int) mpx_problem_raise(request_rec *r, mpx_problem_code_e code, const char *format, ...) MPX_PRINTF(3, 4);
/* The same with the problem of a call that has failed. */
MPX_DECLARE(int) mpx_problem_raise_call(request_rec *r, const mpx_call_t *call);

/* --- Routes ---------------------------------------------------------------------------------------------------------- */

typedef struct mpx_http mpx_http_t;
/* @return APR_SUCCESS after one of mpx_reply_*(), or MPX_FAILED with http->call->problem set */
typedef apr_status_t (mpx_handler_fn)(mpx_http_t *http);

#define MPX_ROUTE_PUBLIC 1u    /* no credential is looked at */
#define MPX_ROUTE_PLATFORM 2u  /* platform administrators only */
#define MPX_ROUTE_ANY_MEDIA 4u /* the handler judges the media type itself and reads http->body raw */
#define MPX_ROUTE_EVENTS 8u    /* body limit of events */
#define MPX_ROUTE_NO_BODY 16u  /* a POST whose body may be absent */
#define MPX_ROUTE_READS 32u    /* a POST that changes nothing */
#define MPX_ROUTE_CE 64u       /* header fields ce-* are part of what is sent (CloudEvents, HTTP protocol binding) */

typedef struct mpx_route {
    const char *method;     /* "GET", "POST", ...; HEAD and OPTIONS come by themselves. NULL ends a table */
    const char *pattern;    /* "/v1/tenants/{tenant}/api-keys/{key}"; {tenant} is resolved and checked by the router */
    const char *permission; /* scope that is needed, or NULL */
    unsigned flags;
    mpx_handler_fn *handler;
    const char *query; /* its query parameters, names between spaces, "filter[" for any "filter[...]"; NULL: it takes none.
                        * Another one is 400 before anything is done; public routes do not look at them */
} mpx_route_t;

/* Call in register_hooks. @param routes ended by a NULL method; lives as long as the module */
MPX_DECLARE(void) mpx_routes_register(const mpx_route_t *routes);

/* One exchange of an API route. */
struct mpx_http {
    request_rec *r;
    mpx_request_t *request;
    mpx_call_t *call;         /* &request->call: tenant, principal, problem, pool */
    const mpx_route_t *route;
    apr_table_t *params;      /* path parameters, decoded */
    apr_table_t *query;       /* query parameters, decoded ('+' is a space); a repeated name is a 400 before the handler */
    const char *body;         /* whole body, NUL-terminated, or NULL */
    apr_size_t body_len;
    const char *media_type;   /* lower case, without parameters, or NULL */
    /* the answer, set by mpx_reply_*() and sent by the router after any commit */
    int status;
    const char *reply;
    apr_size_t reply_len;
    const char *reply_type;
};

/* Parse the body as JSON (400 bad_json). */
MPX_DECLARE(apr_status_t) mpx_http_json(mpx_http_t *http, const mpx_json_t **body) MPX_MUST_CHECK;
/* Parse it and read it with a field table (422 with all errors). */
MPX_DECLARE(apr_status_t) mpx_http_fields(mpx_http_t *http, const mpx_field_t *fields, void *target) MPX_MUST_CHECK;
/* The same for a body of which more than its form is judged: what is wrong is only noted, so that all of it is told at once.
 * @param errors  set to an array of mpx_field_error_t, empty when all is well; for mpx_fail_fields() */
MPX_DECLARE(apr_status_t) mpx_http_read(mpx_http_t *http, const mpx_field_t *fields, void *target,
                                        apr_array_header_t **errors) MPX_MUST_CHECK;
/* `limit` and `cursor` (400 `bad_request`, `bad_cursor`).
 * @param filters  text of the filters that the cursor is bound to, or NULL
 * @param page     filled on success only */
MPX_DECLARE(apr_status_t) mpx_http_page(mpx_http_t *http, const char *filters, mpx_page_t *page) MPX_MUST_CHECK;
/* A time parameter. *given 0 when absent; 400 when malformed. */
MPX_DECLARE(apr_status_t) mpx_http_time(mpx_http_t *http, const char *name, apr_time_t *out, int *given) MPX_MUST_CHECK;
/* A TypeID path parameter; another prefix or shape is a 404. @param out set on success only */
MPX_DECLARE(apr_status_t) mpx_http_id(mpx_http_t *http, const char *param, const char *prefix, mpx_uuid_t *out)
    MPX_MUST_CHECK;

/* Answers, sent by the router after the handler and any commit. They return APR_SUCCESS. @param json, type, text kept */
MPX_DECLARE(apr_status_t) mpx_reply_json(mpx_http_t *http, int status, mpx_jsonw_t *json);
MPX_DECLARE(apr_status_t) mpx_reply_empty(mpx_http_t *http, int status);
MPX_DECLARE(apr_status_t) mpx_reply_text(mpx_http_t *http, int status, const char *type, const char *text, apr_size_t len);
/* {"data":[...],"next_cursor":...}.
 * @param rows   of the page, and one more when the list goes on
 * @param write  one row as JSON
 * @param key    what the next page begins after, of the last row shown */
typedef void (mpx_row_write_fn)(mpx_jsonw_t *w, apr_pool_t *pool, const void *row);
typedef const char *(mpx_row_key_fn)(apr_pool_t *pool, const void *row);
MPX_DECLARE(apr_status_t) mpx_reply_list(mpx_http_t *http, const mpx_page_t *page, const apr_array_header_t *rows,
                                         mpx_row_write_fn *write, mpx_row_key_fn *key);
/* The answer's Location (RFC 9110 section 10.2.2), a path: of a resource that was created. */
MPX_DECLARE(void) mpx_reply_location(mpx_http_t *http, const char *format, ...) MPX_PRINTF(2, 3);

/* Strong entity tag (RFC 9110 section 8.8.3) of a row's version, for an
 * answer with that one resource; the router then answers 304 to
 * If-None-Match. */
MPX_DECLARE(void) mpx_reply_etag(mpx_http_t *http, const mpx_uuid_t *id, apr_int64_t version);
/* What a command needs to honour If-Match inside its transaction, on the locked row: NULL when there is no such field. */
MPX_DECLARE(const char *) mpx_http_if_match(mpx_http_t *http);

/* --- Server configuration that others need ------------------------------------------------------------------------------ */

MPX_DECLARE(const char *) mpx_state_dir(void); /* absolute, of this generation; NULL where not configured */
/* Open a file in it, for the parent's user alone (0600); a symbolic link, or what else is no regular file, is refused.
 * @param flags  of open(2)
 * @return the descriptor; or -1, a sentence, and errno for the log line: 0 where the sentence says all */
MPX_DECLARE(int) mpx_state_open(const char *path, int flags, const char **wrong) MPX_MUST_CHECK;
/* Give a file in it, made and synced under another name, the name that it is looked for under, so that it has it after a
 * power cut too. @return 0, or -1 and errno */
MPX_DECLARE(int) mpx_state_put(const char *part, const char *path) MPX_MUST_CHECK;
/* A file of it that the parent keeps open for its life: later generations take it up, whatever has become of its name
 * meanwhile. Post_config, after core's. The descriptor is core's from then on.
 * @return what an earlier generation has given to mpx_state_hold(), or -1 */
MPX_DECLARE(int) mpx_state_held(const char *name);
MPX_DECLARE(void) mpx_state_hold(const char *name, int fd);
MPX_DECLARE(const mpx_uuid_t *) mpx_node_id(void);       /* of this state directory; from post_config on, for the process */
MPX_DECLARE(const mpx_rootkey_t *) mpx_rootkeys(int *n); /* all of this generation; the first signs; NULL when none */
MPX_DECLARE(const mpx_json_limits_t *) mpx_json_limits(void); /* MeterplexRequestLimits */
/* A call for work outside a request (a job): system principal, no tenant. */
MPX_DECLARE(void) mpx_call_system(mpx_call_t *call, apr_pool_t *pool);
/* Is the database known to be away right now? One load from memory. */
MPX_DECLARE(int) mpx_database_down(void);
/* Is it away, or was it within the last five seconds? Then what is asked of it may find no connection yet, or a server at
 * its recovery. */
MPX_DECLARE(int) mpx_database_unsettled(void);
/* After a connection was lost: was it that connection, or the database? Waits for the next sign of life, at most 3 s and
 * mostly a fifth of one. Any thread of a child.
 * @param since  monotonic: an answer to what was asked then or later counts
 * @return 1 it is there, or nobody has found it away; 0 it is known to be away */
MPX_DECLARE(int) mpx_database_answers(apr_time_t since);

/* --- Notifications of the database ---------------------------------------------------------------------------------------- */

struct mpx_job;
typedef void (mpx_listen_fn)(const char *payload, void *baton);
/* Wait up to timeout for NOTIFY on a channel, on a connection of this child kept for it. For jobs only, from one thread for
 * each channel.
 * @param reconnected  set when the connection was made anew: what was notified meanwhile is unknown
 * @param heard        monotonic: of what was committed up to then, fn has been told all (by this connection; set on success)
 * @return APR_SUCCESS; APR_EGENERAL when there is no connection now; APR_ENOTIMPL when a connection pooler stands in
 * between, through which nothing would be heard */
MPX_DECLARE(apr_status_t) mpx_listen_wait(struct mpx_job *job, const char *channel, apr_interval_time_t timeout,
                                          mpx_listen_fn *fn, void *baton, int *reconnected, apr_time_t *heard);

/* --- Shared memory -------------------------------------------------------------------------------------------------------- */

/* Ask for a slice of the segment. Call in pre_config of every generation.
 * @param weight   share of MeterplexSharedMemory relative to the others
 * @param version  of the slice's layout: another version gets a fresh segment */
MPX_DECLARE(void) mpx_shm_want(const char *name, unsigned weight, apr_uint32_t version);
/* The slice, zeroed when *fresh. Valid from post_config on (after core's, which is APR_HOOK_FIRST), in parent and children;
 * 64-byte aligned. */
MPX_DECLARE(void *) mpx_shm_slice(const char *name, apr_size_t *size, int *fresh);

/* --- Jobs ------------------------------------------------------------------------------------------------------------------ */

typedef enum mpx_job_scope {
    MPX_JOB_CHILD,  /* in every child */
    MPX_JOB_NODE,   /* in one child of this node at a time; another takes over within a second when it dies */
    MPX_JOB_CLUSTER /* on one node at a time, while the database is there */
} mpx_job_scope_e;

typedef struct mpx_job {
    server_rec *server;
    apr_pool_t *pool; /* cleared after the run */
    mpx_call_t *call; /* system principal */
    int more;         /* set by the job: there is more to do, the next turn is not to wait for the interval */
    int again;        /* set by the job: should it fail, it is not to be backed off */
} mpx_job_t;

/* @return APR_SUCCESS; anything else is logged, counted, and backs the job off with jitter (at most 30 s).
 * A run can be cut off anywhere by the end of the child: work is small items, each its own transaction. */
typedef apr_status_t (mpx_job_fn)(mpx_job_t *job, void *baton);
/* Call in post_config. Each job has a thread of its own in each child. */
MPX_DECLARE(void) mpx_job_register(const char *name, apr_interval_time_t interval, mpx_job_scope_e scope, mpx_job_fn *fn,
                                   void *baton);
/* Delete what is too old, ten thousand rows a transaction, until a transaction finds fewer, the child ends, or ten seconds
 * are over; the rest is the next turn's (job->more).
 * @param sql  named statement that deletes at most $1 rows, with the platform's sight */
MPX_DECLARE(apr_status_t) mpx_job_sweep(mpx_job_t *job, const char *sql);
MPX_DECLARE(int) mpx_job_stopping(void); /* the child is ending: leave between items */

/* --- Purging tenants ------------------------------------------------------------------------------------------------------- */

/* How a room's rows of a tenant leave when it is purged: a statement for each table that has tenant_id. Call in
 * register_hooks, for tables that refer to others before those.
 * @param sql  named statement that deletes at most $1 rows of the transaction's tenant, with that tenant's sight only */
MPX_DECLARE(void) mpx_purge_register(const char *sql);
/* Delete at most so many rows of the transaction's tenant, of whatever rooms have registered, in the order of registration.
 * @param deleted  how many there were; 0: nothing is left of what was registered */
MPX_DECLARE(apr_status_t) mpx_purge_some(mpx_tx_t *tx, apr_int64_t most, apr_int64_t *deleted) MPX_MUST_CHECK;

/* --- Metrics and health ------------------------------------------------------------------------------------------------------ */

typedef int mpx_metric_t; /* index into the shared segment; -1: the table is full, updates are ignored */
/* Register in post_config of every generation; a series of the same name and labels continues.
 * @param labels  as exposed: `result="ok"`, or NULL */
MPX_DECLARE(mpx_metric_t) mpx_metric_counter(const char *name, const char *help, const char *labels);
MPX_DECLARE(mpx_metric_t) mpx_metric_gauge(const char *name, const char *help, const char *labels);
/* One that is set in microseconds, and exposed in seconds. */
MPX_DECLARE(mpx_metric_t) mpx_metric_gauge_seconds(const char *name, const char *help, const char *labels);
MPX_DECLARE(mpx_metric_t) mpx_metric_histogram(const char *name, const char *help, const char *labels); /* seconds */
/* One atomic instruction on the node's own word, from any thread of any process that has the segment. */
MPX_DECLARE(void) mpx_metric_add(mpx_metric_t metric, apr_uint64_t n);           /* a counter */
MPX_DECLARE(void) mpx_metric_set(mpx_metric_t metric, apr_int64_t value);        /* a gauge */
MPX_DECLARE(apr_int64_t) mpx_metric_value(mpx_metric_t metric); /* of a counter or gauge; 0 when the table was full */
MPX_DECLARE(void) mpx_metric_observe(mpx_metric_t metric, apr_interval_time_t us); /* a histogram; microseconds */

/* What is exposed, as Prometheus' text format 0.0.4 and OpenMetrics 1.0 have it. Valid during the visit. */
typedef struct mpx_metric_sample {
    const char *name, *help, *type, *labels; /* type: "counter", "gauge", "histogram" */
    apr_int64_t value;
    int is_time;                             /* the value is in microseconds */
    const apr_uint64_t *buckets;             /* histogram: cumulative, nbuckets of them, the last is +Inf */
    const double *bounds;                    /* histogram: nbuckets - 1 upper bounds in seconds */
    int nbuckets;
    apr_uint64_t sum_us;
} mpx_metric_sample_t;
typedef void (mpx_metric_visit_fn)(const mpx_metric_sample_t *sample, void *baton);
MPX_DECLARE(void) mpx_metric_walk(apr_pool_t *pool, mpx_metric_visit_fn *visit, void *baton); /* sorted by name */
/* Called before a walk, to set gauges that are computed (table fill, queue depth). */
typedef void (mpx_metric_refresh_fn)(void);
MPX_DECLARE(void) mpx_metric_refresh_register(mpx_metric_refresh_fn *fn);

typedef enum mpx_health { MPX_HEALTH_OK = 0, MPX_HEALTH_DEGRADED = 1, MPX_HEALTH_DOWN = 2 } mpx_health_e;
/* A part of /health. Answers from memory, at once. @param detail an English phrase, or left NULL */
typedef mpx_health_e (mpx_health_fn)(apr_pool_t *pool, const char **detail);
MPX_DECLARE(void) mpx_health_register(const char *part, mpx_health_fn *fn);
typedef void (mpx_health_visit_fn)(const char *part, mpx_health_e state, const char *detail, void *baton);
MPX_DECLARE(void) mpx_health_walk(apr_pool_t *pool, mpx_health_visit_fn *visit, void *baton);

#endif
