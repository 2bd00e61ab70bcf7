/* core_private.h: what the files of core ask of each other. Not for other rooms. */
#ifndef CORE_PRIVATE_H
#define CORE_PRIVATE_H

#include "../include/meterplex.h"

#include "http_log.h"
#include "http_protocol.h"
#include "http_request.h"

APLOG_USE_MODULE(meterplex);

/* --- Configuration (core_config.c) -------------------------------------------------------------------------------------- */

/* Of the main server; one process has one state directory, one key ring, one segment. */
typedef struct core_config {
    apr_array_header_t *key_files; /* const char *, in the order given */
    const char *state_dir;
    apr_size_t shm_size;           /* bytes */
    mpx_json_limits_t json;
    apr_size_t body_max;           /* bytes; 1 MiB */
    apr_size_t events_body_max;    /* bytes; 8 MiB */
} core_config_t;

/* Of a directory: is an error of httpd itself answered as problem+json here? -1: not said (then: on paths that Meterplex
 * gates or answers). */
typedef struct core_dir {
    int problem;
} core_dir_t;

extern const command_rec core_directives[];
void *core_create_server_config(apr_pool_t *pool, server_rec *s);
void *core_merge_server_config(apr_pool_t *pool, void *base, void *add);
void *core_create_dir_config(apr_pool_t *pool, char *path);
void *core_merge_dir_config(apr_pool_t *pool, void *base, void *add);
core_config_t *core_config(void);   /* of the running generation; set in check_config */
server_rec *core_server(void);      /* the main server of the running generation */
/* check_config: OK, or HTTP_INTERNAL_SERVER_ERROR after a log line */
int core_config_check(apr_pool_t *pool, server_rec *s);
int core_config_open(apr_pool_t *pconf, server_rec *s); /* post_config: key files, state directory and its lock, node id */

/* --- Files of the state directory that are in use (core_held.c) ------------------------------------------------------------- */
int core_held_already(void);                            /* by an earlier generation: this is a reload */
int core_held_open(apr_pool_t *pconf, server_rec *s);   /* post_config: lock and node id */
void core_held_watch(apr_pool_t *pconf, server_rec *s); /* post_config, after the metrics: looks whether they are in place */
int core_held_monitor(apr_pool_t *pconf, server_rec *s); /* the parent's hook: looks again */
mpx_health_e core_held_health(apr_pool_t *pool, const char **detail);

/* --- Are the root keys the installation's? (core_rootkey_watch.c) ----------------------------------------------------------- */
int core_rootkey_watch_open(apr_pool_t *pconf, server_rec *s); /* post_config, after core_config_open() */
mpx_param_t core_rootkey_watch_param(apr_pool_t *pool);        /* bytea[]: the fingerprints of this generation's */
void core_rootkey_watch_note(server_rec *s, mpx_rootkey_standing_e standing); /* what the database says of them */
mpx_health_fn core_rootkey_watch_health;

/* --- Shared segment (core_shm.c) -------------------------------------------------------------------------------------------- */
void core_shm_reset(apr_pool_t *pconf);              /* pre_config, before other rooms' */
int core_shm_open(apr_pool_t *pconf, server_rec *s); /* post_config */

/* --- Database (core_db_config.c, core_db_pool.c, core_db_pulse.c, core_db_listen.c) --------------------------------------- */
#define DBD_MAX_DEFAULT 10 /* mod_dbd's own default of DBDMax */
extern const char *const core_db_after[]; /* modules whose child_init must have run */
int core_db_check(apr_pool_t *ptemp, server_rec *s); /* check_config: mod_dbd there, driver pgsql, a connection string */
/* The first word of a directive that stands outside of sections, without quotes; the last one counts. NULL: there is none */
const char *core_db_configured(apr_pool_t *pool, const char *name);
int core_db_pool_find_dbd(void); /* at each reading of the configuration. @return 0 when mod_dbd is not loaded */
void core_db_child_init(apr_pool_t *pool, server_rec *s);
mpx_db_source_t *core_db_source(void);
int core_db_stopping(void);                              /* the child ends, or there is no pool */
mpx_db_t *core_db_extra(apr_pool_t *pool);               /* a connection outside mod_dbd's pool, within 2 s, or NULL */
int core_db_answers(mpx_db_t *db, apr_pool_t *pool);     /* within core_db_brief() */
struct core_db_wait core_db_brief(void);                 /* 0.4 s, or what the distance asks for; ends when the child does */
apr_interval_time_t core_db_round_trip(void);            /* smoothed, of this node; 0: not known */
int core_db_seen_down(void);                             /* by any child of this node */
int core_db_alone_down(void);                            /* by this child, and another of this node has it */
/* What PostgreSQL lets this node do, as was last looked; of a standby only the reading. */
typedef enum core_db_access { CORE_DB_NOTHING, CORE_DB_READS, CORE_DB_WRITES } core_db_access_e;
core_db_access_e core_db_access(void);
void core_db_metrics_open(void);                         /* post_config */
void core_db_lock(void);                                 /* the pool's mutex */
void core_db_unlock(void);
void core_db_listeners_close(void);                      /* core_db_listen.c; no job runs any more */
void core_db_listeners_release(void);                    /* those of this thread: the job is another child's */

/* --- Jobs (core_jobs.c) ------------------------------------------------------------------------------------------------------------ */
void core_jobs_reset(apr_pool_t *pconf);
int core_jobs_start(apr_pool_t *pconf, server_rec *s); /* post_config, after every room's: makes the watchdogs */
void core_jobs_child_init(apr_pool_t *pchild, server_rec *s); /* before mod_watchdog's, which starts the threads */
/* While the child ends, from its main thread: no job begins any more; wait until none runs.
 * @param longest  microseconds; below 0: without end @return 1 when none runs */
int core_jobs_end(apr_interval_time_t longest);
void core_jobs_await_threads(apr_interval_time_t longest); /* after core_jobs_end(): their threads have ended, too */
/* For a job that is about to do what takes long: until then it stays this child's. */
void core_job_hold(mpx_job_t *run, apr_interval_time_t longest);

/* --- Metrics and health (core_metrics.c, core_health.c) ------------------------------------------------------------------------------ */
void core_metrics_reset(apr_pool_t *pconf);
int core_metrics_open(apr_pool_t *pconf, server_rec *s); /* post_config, after core_shm_open */
void core_health_reset(apr_pool_t *pconf);

/* --- Purging tenants (core_purge.c) ------------------------------------------------------------------------------------------------- */
void core_purge_reset(void); /* registers what is core's own */

/* --- Request, errors, router (core_request.c, core_problem.c, core_router.c, ...) ------------------------------------------------- */
void core_request_reset(apr_pool_t *pconf);  /* clears authenticator, admission list, tenant check */
void core_request_register(apr_pool_t *pool); /* hooks: post_read_request, log_transaction, ... */
void core_problem_register(apr_pool_t *pool); /* error filter and its hook */
/* The problem document, and the fields that go with it (into err_headers_out). */
const char *core_problem_text(request_rec *r, const mpx_request_t *request, const mpx_problem_t *problem, int status,
                              apr_size_t *len);
int core_problem_is_told(request_rec *r); /* is an error of httpd's told by a problem document? */
void core_problem_fields(request_rec *r, const mpx_problem_t *problem, int status);
apr_status_t core_tenant_exists(mpx_call_t *call, const mpx_uuid_t *tenant);

int core_has_apikey(const char *text); /* or what looks like one */

/* An exchange with what only core sees of it. */
typedef struct core_exchange {
    mpx_http_t http; /* first */
    const char *location, *etag;
    int replayed;
} core_exchange_t;

/* Render call->problem as the answer. */
void core_reply_problem(core_exchange_t *exchange);
/* Body and media type (core_body.c). @return APR_SUCCESS, or MPX_FAILED with the problem set */
apr_status_t core_body_read(mpx_http_t *http);
/* Refuse query parameters that the route does not know. */
apr_status_t core_query_check(mpx_http_t *http);
/* Run the route's handler under an Idempotency-Key, or without when the request has none. */
apr_status_t core_idempotent_run(core_exchange_t *exchange);
void core_router_reset(apr_pool_t *pconf);
/* handler "meterplex-api"; check_config: routes without two handlers; -D DUMP_ROUTES */
void core_router_register(apr_pool_t *pool);
void core_idempotency_jobs(void);              /* post_config: expiry of remembered answers */
void core_access_log_register(apr_pool_t *pool); /* %{...}^MX for mod_log_config */

#endif
