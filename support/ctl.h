/* ctl.h: what the files of meterplexctl ask of each other.
 *
 * A command is a function that returns the exit status: CTL_OK, CTL_FAILED or CTL_USAGE. Answers go to standard output,
 * everything else (errors in one line, progress, advice) to standard error. One thread; memory lives in ctl->pool, which
 * lives as long as the process, unless a parameter says otherwise.
 */
#ifndef CTL_H
#define CTL_H

#include "../mod_meterplex/include/meterplex_call.h"

#define CTL_OK 0
#define CTL_FAILED 1
#define CTL_USAGE 2

struct ctl;

typedef struct ctl_command {
    const char *name;     /* "tenant create" */
    const char *synopsis; /* its own arguments, "[--dir DIR] [--dry-run]" */
    const char *summary;  /* one line for the list of commands */
    const char *help;     /* what --help adds: options and an example, each line ended by a newline */
    int (*run)(struct ctl *ctl, int argc, const char *const *argv);
} ctl_command_t;

typedef struct ctl {
    apr_pool_t *pool;
    const ctl_command_t *command;
    const char *database;  /* libpq connection string or URI, or NULL */
    const char *key_file;  /* or NULL */
    const char *state_dir; /* or NULL */
    int json;
    const char *run_id;       /* of this process: the request id of audit rows and events */
    mpx_db_source_t *source;  /* NULL before ctl_connect() */
    const char *db_message;   /* what the database wrapper said last, or NULL */
    mpx_rootkey_t rootkey;    /* after ctl_rootkey() */
    mpx_principal_t operator; /* MPX_PRINCIPAL_SYSTEM */
} ctl_t;

extern const ctl_command_t ctl_commands[]; /* ended by a NULL name */

/* --- Messages (ctl_output.c) -------------------------------------------------------------------------------------- */

int ctl_fail(const char *format, ...) MPX_PRINTF(1, 2);                    /* @return CTL_FAILED */
int ctl_usage(const ctl_t *ctl, const char *format, ...) MPX_PRINTF(2, 3); /* names --help. @return CTL_USAGE */
void ctl_note(const char *format, ...) MPX_PRINTF(1, 2);                   /* a line on standard error */
/* The problem of a call that returned MPX_FAILED, with its fields, in one line. @return CTL_FAILED */
int ctl_fail_call(const ctl_t *ctl, const mpx_call_t *call);
/* Print a JSON text and a newline. */
void ctl_print_json(mpx_jsonw_t *json);
/* Flush standard output: a full disk or a closed pipe is a failure too. @return status, or CTL_FAILED */
int ctl_flush(int status);
/* text with line breaks folded to "; " */
const char *ctl_one_line(apr_pool_t *pool, const char *text);

/* --- Options (ctl_options.c) -------------------------------------------------------------------------------------- */

typedef enum ctl_option_kind {
    CTL_FLAG, /* int */
    CTL_TEXT, /* const char * */
    CTL_INT,  /* apr_int64_t, 0 or more */
    CTL_LIST  /* apr_array_header_t * of const char *: may be repeated, and holds words between blanks or commas */
} ctl_option_kind_e;

typedef struct ctl_option {
    const char *name; /* without the dashes; NULL ends a table */
    ctl_option_kind_e kind;
    void *target;
} ctl_option_t;

/* Read "--name value", "--name=value" and the options of every command; "--" ends them; "-" is an argument.
 * @param options   the command's own, or NULL
 * @param min, max  how many arguments may be left; max < 0: any number
 * @param rest      the arguments, const char *, or NULL when max is 0
 * @return CTL_OK, or CTL_USAGE after a message */
int ctl_options(ctl_t *ctl, const ctl_option_t *options, int argc, const char *const *argv, int min, int max,
                apr_array_header_t **rest);

/* --- Database and root key (ctl_db.c, ctl_keyfile.c) -------------------------------------------------------------- */

/* Connect. @return CTL_OK, or CTL_FAILED / CTL_USAGE after a message */
int ctl_connect(ctl_t *ctl);
/* The same without a message. @return NULL, or what is wrong */
const char *ctl_connect_quietly(ctl_t *ctl);
/* Connect to work as the server does: a superuser takes the role meterplex_app, so that row level security binds it too. */
int ctl_connect_as_app(ctl_t *ctl);
/* The same for commands that work with the schema: it must be as this program needs it. */
int ctl_connect_to_work(ctl_t *ctl);
/* A fresh call of the operator. @param tenant or NULL */
void ctl_call(ctl_t *ctl, mpx_call_t *call, apr_pool_t *pool, const mpx_uuid_t *tenant);
/* One statement in a transaction of its own. @param mode MPX_TX_READ, ... */
apr_status_t ctl_query(mpx_call_t *call, unsigned mode, const char *sql, const mpx_param_t *params, int n,
                       mpx_rows_t **rows) MPX_MUST_CHECK;
/* The tenant that an id (ten_...) or a slug names. @return CTL_OK, or CTL_FAILED after a message */
int ctl_tenant(ctl_t *ctl, const char *text, mpx_uuid_t *tenant);
/* Is it good as the name of a tenant or key? @return CTL_OK, or CTL_USAGE after a message */
int ctl_check_name(ctl_t *ctl, const char *name);

/* Read --key-file, which is named, into ctl->rootkey; zeroed again when the pool goes.
 * @return what is wrong with it (an English phrase), or NULL */
const char *ctl_keyfile_wrong(ctl_t *ctl);
/* The same for a command that needs it. @return CTL_OK, CTL_FAILED or CTL_USAGE */
int ctl_rootkey(ctl_t *ctl);
/* After ctl_rootkey() and ctl_connect_to_work(): is it the installation's? @return CTL_OK, or CTL_FAILED after a message */
int ctl_rootkey_known(ctl_t *ctl);
int ctl_rootkey_new(ctl_t *ctl); /* the same for one that the installation is to begin anew with: is it not yet? */

/* --- Migrations (ctl_migrations.c) -------------------------------------------------------------------------------- */

#define CTL_CHECKSUM 65 /* hex of BLAKE2b-256 and the NUL */

typedef struct ctl_migration {
    int version;
    const char *file; /* "0001_core.sql" */
    const char *name; /* "core" */
    const char *sql;
    char checksum[CTL_CHECKSUM];
} ctl_migration_t;

typedef struct ctl_applied {
    int version;
    const char *name, *checksum;
    const char *applied_at;
} ctl_applied_t;

/* The files of a directory, by number. @param files array of ctl_migration_t
 * @return NULL, or a sentence that names the file that is wrong (a name that is none, a number used twice, unreadable) */
const char *ctl_migrations_read(apr_pool_t *pool, const char *dir, apr_array_header_t **files);
/* What has run, by number; empty before the first. @param applied array of ctl_applied_t */
apr_status_t ctl_migrations_applied(mpx_call_t *call, apr_array_header_t **applied) MPX_MUST_CHECK;
/* Do the files agree with what ran? @return NULL, or a sentence that names the file */
const char *ctl_migrations_conflict(apr_pool_t *pool, const apr_array_header_t *files, const apr_array_header_t *applied);
const char *ctl_migrations_dir(void); /* where make install puts them */

/* --- Commands ----------------------------------------------------------------------------------------------------- */

int ctl_migrate(ctl_t *ctl, int argc, const char *const *argv);
int ctl_keygen(ctl_t *ctl, int argc, const char *const *argv);
int ctl_bootstrap(ctl_t *ctl, int argc, const char *const *argv);
int ctl_tenant_create(ctl_t *ctl, int argc, const char *const *argv);
int ctl_tenant_list(ctl_t *ctl, int argc, const char *const *argv);
int ctl_tenant_suspend(ctl_t *ctl, int argc, const char *const *argv);
int ctl_tenant_activate(ctl_t *ctl, int argc, const char *const *argv);
int ctl_key_create(ctl_t *ctl, int argc, const char *const *argv);
int ctl_key_list(ctl_t *ctl, int argc, const char *const *argv);
int ctl_key_revoke(ctl_t *ctl, int argc, const char *const *argv);
int ctl_key_rotate(ctl_t *ctl, int argc, const char *const *argv);
int ctl_import(ctl_t *ctl, int argc, const char *const *argv);
int ctl_doctor(ctl_t *ctl, int argc, const char *const *argv);
int ctl_status(ctl_t *ctl, int argc, const char *const *argv);

#endif
