/* ctl_migrate.c: `meterplexctl migrate`: brings the schema of a database up to date, forward only.
 *
 * Each file runs in a transaction of its own together with the row that says so, as role meterplex_owner. One migrate works
 * on a database at a time: a session's advisory lock, which cannot outlive the connection. (Behind PgBouncer that needs its
 * session mode; should the lock be lost all the same, the primary key of meterplex.migrations lets only one of two commit.)
 */
#include "ctl.h"

#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

#include "ctl_sql.h"

#define OLDEST_SERVER 150000
#define WAIT_MAX 86400 /* seconds */
#define LOCK_STEP apr_time_from_msec(100)

typedef struct migrate {
    ctl_t *ctl;
    const char *dir;
    int dry_run;
    apr_int64_t wait;         /* seconds for another migrate to end */
    apr_int64_t lock_timeout; /* seconds for a table that is in use */
    int app_has_login;        /* some role that may log in is a member of meterplex_app */
    apr_array_header_t *files, *applied;
    mpx_jsonw_t *json; /* NULL: text */
} migrate_t;

static void step(const migrate_t *m, const char *what, const char *subject)
{
    if (m->json == NULL) {
        printf("%s %s\n", what, subject);
        fflush(stdout);
    }
}

static int facts(migrate_t *m)
{
    mpx_call_t call;
    mpx_rows_t *rows;

    ctl_call(m->ctl, &call, m->ctl->pool, NULL);
    if (ctl_query(&call, MPX_TX_READ, SQL_migrate_facts, NULL, 0, &rows) != APR_SUCCESS) {
        return ctl_fail_call(m->ctl, &call);
    }
    if (mpx_rows_int(rows, 0, 0) < OLDEST_SERVER) {
        return ctl_fail("PostgreSQL is %s here; Meterplex needs 15 or later", mpx_rows_text(rows, 0, 1));
    }
    if (strcmp(mpx_rows_text(rows, 0, 6), "UTF8") != 0) {
        return ctl_fail("the database %s has the encoding %s, in which most of what is sent cannot be stored: make one with "
                        "createdb -E UTF8 -T template0",
                        mpx_rows_text(rows, 0, 3), mpx_rows_text(rows, 0, 6));
    }
    if (mpx_rows_bool(rows, 0, 4)) {
        return ctl_fail("the role meterplex_owner may log in, or is superuser or BYPASSRLS, and would see through row level "
                        "security: ALTER ROLE meterplex_owner NOLOGIN NOSUPERUSER NOBYPASSRLS");
    }
    m->app_has_login = mpx_rows_bool(rows, 0, 5);
    return CTL_OK;
}

static int take_lock(const migrate_t *m)
{
    apr_time_t deadline = apr_time_now() + apr_time_from_sec(m->wait);
    apr_pool_t *pool;
    mpx_call_t call;
    mpx_rows_t *rows;
    int said = 0, taken = 0, rv = CTL_OK;

    apr_pool_create(&pool, m->ctl->pool);
    while (rv == CTL_OK && !taken) {
        apr_pool_clear(pool);
        ctl_call(m->ctl, &call, pool, NULL);
        if (ctl_query(&call, MPX_TX_READ, SQL_migrations_lock, NULL, 0, &rows) != APR_SUCCESS) {
            rv = ctl_fail_call(m->ctl, &call);
        }
        else if (!(taken = mpx_rows_bool(rows, 0, 0))) {
            if (apr_time_now() >= deadline) {
                rv = ctl_fail("another migrate is still at work on this database after %" APR_INT64_T_FMT
                              " s; try again when it "
                              "has ended, or with a longer --wait",
                              m->wait);
            }
            else if (!said++) {
                ctl_note("another migrate is at work on this database; waiting for it, at most %" APR_INT64_T_FMT " s",
                         m->wait);
            }
            if (rv == CTL_OK) {
                apr_sleep(LOCK_STEP);
            }
        }
    }
    apr_pool_destroy(pool);
    return rv;
}

/* @param statements array of const char *, made */
static int missing_statements(const migrate_t *m, apr_array_header_t **statements)
{
    mpx_call_t call;
    mpx_rows_t *rows;
    int i;

    ctl_call(m->ctl, &call, m->ctl->pool, NULL);
    if (ctl_query(&call, MPX_TX_READ, SQL_migrate_missing, NULL, 0, &rows) != APR_SUCCESS) {
        return ctl_fail_call(m->ctl, &call);
    }
    *statements = apr_array_make(m->ctl->pool, 4, sizeof(const char *));
    for (i = 0; i < mpx_rows_count(rows); i++) {
        APR_ARRAY_PUSH(*statements, const char *) = mpx_rows_text(rows, i, 0);
    }
    return CTL_OK;
}

static int refuse_httpds_role(const migrate_t *m)
{
    mpx_call_t call;
    mpx_rows_t *rows;

    ctl_call(m->ctl, &call, m->ctl->pool, NULL);
    if (ctl_query(&call, MPX_TX_READ, SQL_migrate_is_httpd, NULL, 0, &rows) != APR_SUCCESS) {
        return ctl_fail_call(m->ctl, &call);
    }
    return mpx_rows_count(rows) == 1 && mpx_rows_bool(rows, 0, 0)
        ? ctl_fail("this is the role that httpd logs in as, which must own nothing: migrate as a superuser or as the "
                   "database's owner, for instance: runuser -u postgres -- meterplexctl migrate --database dbname=%s",
                   mpx_rows_text(rows, 0, 1))
        : CTL_OK;
}

static int print_for_administrator(const migrate_t *m, const apr_array_header_t *statements, const char *error)
{
    int i;
    for (i = 0; i < statements->nelts; i++) {
        fprintf(stderr, "%s;\n", APR_ARRAY_IDX(statements, i, const char *));
    }
    return ctl_fail(
        "this role may not prepare the database (%s); have an administrator run the SQL above, then migrate again", error);
}

/* The roles and the right to make schemas. Roles belong to the whole cluster, and the lock to this database only: what
 * another migrate made in the meantime is looked at once more before anything is called an error. */
static int prepare(const migrate_t *m)
{
    apr_array_header_t *statements = NULL;
    const char *error = NULL;
    int attempt, i, rv;

    if ((rv = refuse_httpds_role(m)) != CTL_OK) {
        return rv;
    }
    for (attempt = 0; attempt < 3; attempt++) {
        if ((rv = missing_statements(m, &statements)) != CTL_OK) {
            return rv;
        }
        for (i = 0, error = NULL; statements && i < statements->nelts && error == NULL; i++) {
            const char *sql = APR_ARRAY_IDX(statements, i, const char *);
            if (m->dry_run) {
                step(m, "would run:", sql);
            }
            else if (mpx_db_script(m->ctl->source, m->ctl->pool, sql, &error) == APR_SUCCESS) {
                step(m, "ran:", sql);
            }
        }
        if (error == NULL) {
            return CTL_OK;
        }
    }
    return print_for_administrator(m, statements, ctl_one_line(m->ctl->pool, error));
}

static int make_table(const migrate_t *m)
{
    const char *error;
    if (mpx_db_script(m->ctl->source, m->ctl->pool, SQL_migrations_create, &error) != APR_SUCCESS) {
        return ctl_fail("the table meterplex.migrations cannot be made: %s", ctl_one_line(m->ctl->pool, error));
    }
    return CTL_OK;
}

/* What helps with an error of a migration, or "". EXECUTE is not translated in the server's message. */
static const char *migration_advice(const char *error)
{
    if (strstr(error, "55P03")) {
        return "; a table that it changes is in use: try again, or with a longer --lock-timeout";
    }
    if (strstr(error, "0A000") && strstr(error, "EXECUTE")) {
        return "; a migration is one transaction, which migrate begins and ends: it may hold no BEGIN, COMMIT, ROLLBACK or "
               "SAVEPOINT of its own, and no SELECT INTO (CREATE TABLE AS does the same)";
    }
    return "";
}

/* The file and its row in one transaction. Version, name and checksum are digits, letters and '_' only (see
 * ctl_migrations.c), so that they may stand in the text. */
static int run_file(const migrate_t *m, const ctl_migration_t *file)
{
    apr_pool_t *pool;
    const char *script, *sum = file->checksum, *error = NULL;
    apr_status_t ran;
    int rv = CTL_OK;

    apr_pool_create(&pool, m->ctl->pool);
    script = apr_pstrcat(pool, apr_psprintf(pool, SQL_migration_begin, (int)m->lock_timeout),
                         apr_psprintf(pool, SQL_migration_text, sum, sum, file->sql, sum, sum),
                         apr_psprintf(pool, SQL_migration_end, file->version, file->name, sum), NULL);
    ran = mpx_db_script(m->ctl->source, pool, script, &error);
    if (ran == APR_INCOMPLETE) {
        rv = ctl_fail("%s/%s was begun, and its end is not known: %s; all of it is there or nothing: run migrate again, "
                      "which looks and goes on from there",
                      m->dir, file->file, error);
    }
    else if (ran != APR_SUCCESS) {
        rv = ctl_fail("%s/%s failed, and nothing of it remains: %s%s", m->dir, file->file, ctl_one_line(pool, error),
                      migration_advice(error));
    }
    apr_pool_destroy(pool);
    return rv;
}

static int run_pending(migrate_t *m)
{
    int i, rv;

    for (i = m->applied->nelts; i < m->files->nelts; i++) {
        const ctl_migration_t *file = &APR_ARRAY_IDX(m->files, i, ctl_migration_t);
        if (!m->dry_run && (rv = run_file(m, file)) != CTL_OK) {
            return rv;
        }
        step(m, m->dry_run ? "would run" : "ran", file->file);
        if (m->json) {
            mpx_jsonw_string(m->json, file->file);
        }
    }
    return CTL_OK;
}

static int compare(migrate_t *m)
{
    mpx_call_t call;
    const char *wrong;

    ctl_call(m->ctl, &call, m->ctl->pool, NULL);
    if (ctl_migrations_applied(&call, &m->applied) != APR_SUCCESS) {
        return ctl_fail_call(m->ctl, &call);
    }
    wrong = ctl_migrations_conflict(m->ctl->pool, m->files, m->applied);
    return wrong ? ctl_fail("nothing was run: %s", wrong) : CTL_OK;
}

static void conclude(const migrate_t *m)
{
    int pending = m->files->nelts - m->applied->nelts;
    const ctl_migration_t *last = &APR_ARRAY_IDX(m->files, m->files->nelts - 1, ctl_migration_t);

    if (m->json) {
        mpx_jsonw_end(m->json);
        mpx_jsonw_member_int(m->json, "version", last->version);
        mpx_jsonw_end(m->json);
        ctl_print_json(m->json);
        return;
    }
    if (m->dry_run) {
        printf("%d of %d migrations would run\n", pending, m->files->nelts);
        return;
    }
    printf("the schema is at %04d (%s); %d migration%s run\n", last->version, last->name, pending, pending == 1 ? "" : "s");
    if (!m->app_has_login) {
        printf("next, the role that httpd connects as: CREATE ROLE meterplex LOGIN IN ROLE meterplex_app PASSWORD '...';\n");
    }
}

static int work(migrate_t *m)
{
    const char *wrong = ctl_migrations_read(m->ctl->pool, m->dir, &m->files);
    int rv;

    if (wrong) {
        return ctl_fail("%s", wrong);
    }
    if ((rv = ctl_connect(m->ctl)) != CTL_OK || (rv = facts(m)) != CTL_OK) {
        return rv;
    }
    /* A statement of a migration may take its time; httpd's are bounded more tightly. */
    m->ctl->source->statement_timeout = apr_time_from_sec(24 * 3600);
    if ((!m->dry_run && (rv = take_lock(m)) != CTL_OK) || (rv = prepare(m)) != CTL_OK
        || (!m->dry_run && (rv = make_table(m)) != CTL_OK) || (rv = compare(m)) != CTL_OK) {
        return rv;
    }
    if (m->json) {
        mpx_jsonw_object(m->json);
        mpx_jsonw_member_int(m->json, "already_run", m->applied->nelts);
        mpx_jsonw_key(m->json, m->dry_run ? "would_run" : "run");
        mpx_jsonw_array(m->json);
    }
    if ((rv = run_pending(m)) == CTL_OK) {
        conclude(m);
    }
    return rv;
}

int ctl_migrate(ctl_t *ctl, int argc, const char *const *argv)
{
    migrate_t m = { .ctl = ctl, .dir = ctl_migrations_dir(), .wait = 60, .lock_timeout = 10 };
    const ctl_option_t options[] = {
        { "dir", CTL_TEXT, &m.dir },
        { "migrations", CTL_TEXT, &m.dir },
        { "dry-run", CTL_FLAG, &m.dry_run },
        { "wait", CTL_INT, &m.wait },
        { "lock-timeout", CTL_INT, &m.lock_timeout },
        { NULL, CTL_FLAG, NULL },
    };
    int rv = ctl_options(ctl, options, argc, argv, 0, 0, NULL);

    if (rv != CTL_OK) {
        return rv;
    }
    if (m.wait > WAIT_MAX || m.lock_timeout > WAIT_MAX) {
        return ctl_usage(ctl, "a wait of more than %d s is not allowed", WAIT_MAX);
    }
    m.json = ctl->json ? mpx_jsonw_make(ctl->pool) : NULL;
    return work(&m);
}
