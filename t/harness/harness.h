/* harness: what a test program in t/api and t/fault needs around its cases: a run directory, a private PostgreSQL, private
 * httpds with the modules of this build tree, meterplexctl, an HTTP client and JSON assertions.
 *
 *     static void up(void) { h_up("<Location /gated> ... </Location>"); }
 *     int main(void) { return h_run(suite(), up); }
 *
 * up() runs once, in the program itself; Check then forks a process for each case, which inherits the environment. All
 * state that a case could change (is httpd running, which pid) is read from files, so that a case may stop and start
 * servers. Several test programs run side by side: each has its own directory and ports.
 *
 * Whatever fails in up() ends the program; whatever fails in a case fails the case, with the tail of the httpd error logs.
 * Servers are ended when the program ends, however it ends: a watcher process notices by a closed pipe, kills what runs
 * from the run directory and removes it (MPX_KEEP=1 keeps the directory).
 *
 * Strings that are returned live until the process ends. One thread, unless said otherwise.
 */
#ifndef MPX_HARNESS_H
#define MPX_HARNESS_H

#include <check.h>
#include <jansson.h>
#include <sys/types.h>

#define H_PRINTF(text, arguments) __attribute__((format(printf, text, arguments)))

/* --- The program -------------------------------------------------------------------------------------------------- */

/* Run up() and then the suite, TAP or Check's text as the environment says. @return the exit status */
int h_run(Suite *suite, void (*up)(void));

/* PostgreSQL, migrated; root key; the platform administrator; one httpd with all modules on it, running.
 * @param conf added to the main server's configuration, or NULL */
void h_up(const char *conf);
/* The same, httpd not yet started. */
void h_up_stopped(const char *conf);

void h_fail(const char *format, ...) H_PRINTF(1, 2) __attribute__((noreturn));
/* Only in a case of Check, and followed by return: what the case needs is not here. The result says SKIP and the reason, so
 * that nobody takes it for a pass. */
#define h_skip(reason) h_skip_at(__func__, reason)
void h_skip_at(const char *function, const char *reason);
char *h_format(const char *format, ...) H_PRINTF(1, 2);
const char *h_dir(void); /* the run directory, readable for the server's users */
/* Write a file (mode 0644) under the run directory. @return its absolute path */
const char *h_file(const char *name, const char *content);
char *h_read_file(const char *path); /* NULL when there is none */

/* Wait until the expression holds, at most so many seconds; else fail and show it. */
#define H_WAIT(seconds, expression)                                                              \
    do {                                                                                         \
        long long h_deadline_ = h_now_ms() + (long long)((seconds) * 1000);                      \
        while (!(expression)) {                                                                  \
            if (h_now_ms() > h_deadline_) {                                                      \
                h_fail("%s:%d: not within %g s: %s", __FILE__, __LINE__, (double)(seconds),      \
                       #expression);                                                             \
            }                                                                                    \
            h_pause();                                                                           \
        }                                                                                        \
    } while (0)
long long h_now_ms(void); /* monotonic */
void h_pause(void);       /* the step between two looks at a condition: 10 ms */

/* --- Processes ---------------------------------------------------------------------------------------------------- */

typedef struct h_output {
    int status;       /* exit status; 128 + signal */
    const char *text; /* standard output */
    const char *error;
} h_output_t;

/* Run a program and wait. @param argv ended by NULL @param input bytes for standard input, or NULL */
h_output_t h_command(const char *const *argv, const char *input);
/* meterplexctl of the build tree with METERPLEX settings of this environment; the arguments end with NULL. */
h_output_t h_ctl(const char *argument, ...) __attribute__((sentinel));
/* The same, and it must succeed. @return standard output */
const char *h_ctl_ok(const char *argument, ...) __attribute__((sentinel));
int h_free_port(void); /* on 127.0.0.1, free when asked */

/* --- PostgreSQL --------------------------------------------------------------------------------------------------- */

#define H_PG_FAST SIGINT
#define H_PG_IMMEDIATE SIGQUIT

void h_pg_setup(void); /* the cluster, started, with an empty database meterplex (h_up() does it) */
void h_pg_start(void);
void h_pg_stop(int how); /* H_PG_FAST, H_PG_IMMEDIATE, SIGKILL; waits until it is gone */
pid_t h_pg_pid(void);    /* of the postmaster, 0 when it is not running */
int h_pg_port(void);
/* libpq connection string. @param role "postgres" (superuser) or "meterplex" (httpd's) */
const char *h_pg_conninfo(const char *role);
const char *h_pg_url(const char *role); /* the same as URI */
void h_migrate(void);                   /* the schema, as h_up() has it */
/* Run SQL as superuser in the meterplex database. @return first column of the first row, "" when there is none */
const char *h_sql(const char *format, ...) H_PRINTF(1, 2);
/* The same under another role, and SQLSTATE instead of a failure. @return "00000" on success */
const char *h_sql_state(const char *role, const char *sql);
/* A process of its own locks the tables against everybody, reading too; it holds them when this returns.
 * @param tables   names, comma-separated
 * @param seconds  how long it holds them; then it ends
 * @return its pid, for waitpid() */
pid_t h_lock_tables(const char *tables, double seconds);

/* PgBouncer in transaction mode before that PostgreSQL, with so many connections to it.
 * @return its port on 127.0.0.1 */
int h_pooler_start(int connections);

/* A relay to that PostgreSQL which holds back all that passes, as a long way would. For up() only: it ends with the
 * program that made it.
 * @param delay milliseconds, each way @return its port on 127.0.0.1 */
int h_relay_start(int delay);
/* A port on 127.0.0.1 that takes connections, and never says a word. It is this process's, and that of its children. */
int h_silent_port(void);
/* A backend that answers the first request of every connection with these bytes, whatever it asks for, and closes. For up()
 * only, as h_relay_start(). @return its port on 127.0.0.1 */
int h_canned_start(const char *answer);
/* The same that takes every request for a WebSocket's, says 101 and closes (RFC 6455). */
int h_socket_start(void);

/* --- httpd -------------------------------------------------------------------------------------------------------- */

typedef struct h_httpd {
    const char *name;
    const char *root;     /* ServerRoot: httpd.conf, error.log, access.log, htdocs/, state/ */
    const char *state;    /* MeterplexStateDir */
    const char *log;      /* error log */
    const char *pid_file;
    const char *mpm;      /* "event" from the start; another counts from h_httpd_configure() on */
    int port;
} h_httpd_t;

extern h_httpd_t *h_main_httpd; /* what h_up() made */

/* Make a server: directories and configuration, nothing is started.
 * @param modules  load Meterplex's modules, with database and root key (1), or be a plain httpd (0: an upstream)
 * @param conf     added at the end, server scope, or NULL */
h_httpd_t *h_httpd_make(const char *name, int modules, const char *conf);
/* Write the configuration again with another addition; takes effect with the next start or graceful. */
void h_httpd_configure(h_httpd_t *httpd, const char *conf);
void h_httpd_start(h_httpd_t *httpd);    /* returns when it answers on its port */
h_output_t h_httpd_try(h_httpd_t *httpd); /* the same, whatever comes of it; does not wait */
void h_httpd_stop(h_httpd_t *httpd);     /* SIGTERM; waits until all its processes are gone */
void h_httpd_graceful_stop(h_httpd_t *httpd); /* SIGWINCH; waits as h_httpd_stop() */
void h_httpd_graceful(h_httpd_t *httpd); /* SIGUSR1; waits until the new generation is announced in the log */
void h_httpd_kill(h_httpd_t *httpd);     /* SIGKILL to parent and children at once; waits */
pid_t h_httpd_kill_child(h_httpd_t *httpd); /* SIGKILL to one child; waits until it is gone. @return its pid */
pid_t h_httpd_pid(const h_httpd_t *httpd);  /* parent; 0 when it is not running */
int h_httpd_children(const h_httpd_t *httpd, pid_t *pids, int max); /* @return how many there are */
h_output_t h_httpd_test(h_httpd_t *httpd);  /* httpd -t */
h_output_t h_httpd_routes(h_httpd_t *httpd); /* httpd -t -D DUMP_ROUTES: "METHOD /path permission" lines */
int h_httpd_logged(const h_httpd_t *httpd, const char *text); /* does the error log contain it? */
/* A line with this text is expected: the check for alarming log lines at the end passes over it. */
void h_httpd_expect_log(const char *text);
/* Environment for httpd processes that are started from now on: "NAME=value". */
void h_httpd_setenv(const char *assignment);

/* --- HTTP --------------------------------------------------------------------------------------------------------- */

typedef struct h_request {
    const h_httpd_t *httpd;     /* NULL: the main one */
    const char *method;         /* NULL: GET, or POST with a body */
    const char *path;           /* with query, as it goes on the wire */
    const char *key;            /* API key, sent as Authorization: Bearer; or NULL */
    const char *const *headers; /* "Name: value" lines ended by NULL; "Name:" takes away one that libcurl adds. Or NULL */
    const char *body;           /* or NULL */
    size_t body_len;            /* 0: strlen(body) */
    const char *type;           /* Content-Type; NULL: application/json when there is a body */
    double timeout;             /* seconds; 0: 10 */
    int http2;                  /* prior knowledge */
} h_request_t;

typedef struct h_response {
    int status; /* 0: no answer (refused, reset, timed out) */
    const char *body;
    size_t body_len;
    const char **headers; /* "name: value", name in lower case, in order, ended by NULL */
    double seconds;
    const char *what;     /* "GET /v1/x" */
} h_response_t;

const h_response_t *h_send(const h_request_t *request);
const h_response_t *h_get(const char *path, const char *key);
const h_response_t *h_post(const char *path, const char *key, const char *json);
const h_response_t *h_call(const char *method, const char *path, const char *key, const char *json);
const char *h_header(const h_response_t *response, const char *name); /* first of that name (lower case), or NULL */
/* Bytes as they are, over one connection that is read until the server closes it or timeout seconds pass. */
const char *h_raw(const h_httpd_t *httpd, const char *bytes, size_t len, double timeout);

/* --- Assertions ----------------------------------------------------------------------------------------------------- */

/* A failing one shows the whole answer. */
#define h_expect(response, status) h_expect_at(__FILE__, __LINE__, response, status)
#define h_expect_problem(response, status, code) h_expect_problem_at(__FILE__, __LINE__, response, status, code)
#define h_expect_header(response, name, value) h_expect_header_at(__FILE__, __LINE__, response, name, value)
#define h_expect_json(response, pointer, value) h_expect_json_at(__FILE__, __LINE__, response, pointer, value)

void h_expect_at(const char *file, int line, const h_response_t *response, int status);
/* RFC 9457: media type, status in both places, code, title, instance, request_id equal to X-Request-Id. */
void h_expect_problem_at(const char *file, int line, const h_response_t *response, int status, const char *code);
void h_expect_header_at(const char *file, int line, const h_response_t *response, const char *name, const char *value);
/* @param value what the member must be: text as it is, or JSON text of a number, true, false, null, [] or {}; NULL: the
 * pointer must lead nowhere */
void h_expect_json_at(const char *file, int line, const h_response_t *response, const char *pointer, const char *value);

/* The body as JSON (must be). Owned by the process. */
json_t *h_json(const h_response_t *response);
/* By JSON pointer (RFC 6901); text of a string, or JSON text of anything else; NULL when there is no such member. */
const char *h_json_text(const h_response_t *response, const char *pointer);
json_t *h_json_at(json_t *root, const char *pointer); /* borrowed, or NULL */

/* --- What most cases need first --------------------------------------------------------------------------------------- */

const char *h_admin_key(void); /* the platform administrator's */
/* A new tenant. @return its id */
const char *h_tenant(const char *slug);
/* A new key in a tenant. @param scopes space-separated
 * @param more further members as JSON text ("\"env\":\"test\""), or NULL
 * @return the secret; *id gets the key's id when not NULL */
const char *h_key(const char *tenant, const char *scopes, const char *more, const char **id);

#endif
