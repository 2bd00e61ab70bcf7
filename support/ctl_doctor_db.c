/* ctl_doctor_db.c: the database as the role sees it that httpd connects as. */
#include "ctl_doctor.h"

#include <stdlib.h>
#include <string.h>

#include <apr_strings.h>

#include "ctl_sql.h"

#define OLDEST_SERVER 150000
#define CLOCK_TOLERANCE apr_time_from_sec(1)
#define ROWS_SHOWN 5

/* Run a statement; a failure is a finding. @return 1 or 0 */
static int ask(doctor_t *d, const char *check, const char *sql, mpx_rows_t **rows)
{
    mpx_call_t call;

    ctl_call(d->ctl, &call, d->ctl->pool, NULL);
    d->ctl->db_message = NULL;
    if (ctl_query(&call, MPX_TX_READ, sql, NULL, 0, rows) == APR_SUCCESS) {
        return 1;
    }
    doctor_say(d, FOUND_WRONG, check, "%s%s%s", call.problem.detail ? call.problem.detail : "the database did not answer",
               d->ctl->db_message ? " " : "", d->ctl->db_message ? ctl_one_line(d->ctl->pool, d->ctl->db_message) : "");
    return 0;
}

static int connected(doctor_t *d)
{
    const char *error;

    if (d->ctl->database == NULL || *d->ctl->database == '\0') {
        doctor_say(d, FOUND_WRONG, "database", "not named: give --database or METERPLEX_DATABASE_URL, as DBDParams has it");
        return 0;
    }
    error = ctl_connect_quietly(d->ctl);
    if (error) {
        doctor_say(d, FOUND_WRONG, "database", "cannot be reached: %s", error);
    }
    return error == NULL;
}

static void check_server(doctor_t *d)
{
    mpx_rows_t *rows;

    if (!ask(d, "database", SQL_doctor_server, &rows)) {
        return;
    }
    if (mpx_rows_int(rows, 0, 0) < OLDEST_SERVER) {
        doctor_say(d, FOUND_WRONG, "database", "PostgreSQL %s; Meterplex needs 15 or later: upgrade the cluster",
                   mpx_rows_text(rows, 0, 1));
        return;
    }
    if (strcmp(mpx_rows_text(rows, 0, 3), "UTF8") != 0) {
        doctor_say(d, FOUND_WRONG, "database", "%s has the encoding %s: dump it, and restore it into one made with "
                                               "createdb -E UTF8 -T template0",
                   mpx_rows_text(rows, 0, 2), mpx_rows_text(rows, 0, 3));
        return;
    }
    doctor_say(d, FOUND_OK, "database", "%s, PostgreSQL %s", mpx_rows_text(rows, 0, 2), mpx_rows_text(rows, 0, 1));
}

static int check_schema(doctor_t *d)
{
    apr_array_header_t *files, *applied;
    mpx_call_t call;
    const char *wrong = ctl_migrations_read(d->ctl->pool, d->migrations, &files);

    ctl_call(d->ctl, &call, d->ctl->pool, NULL);
    if (wrong == NULL && ctl_migrations_applied(&call, &applied) != APR_SUCCESS) {
        wrong = apr_psprintf(d->ctl->pool, "what ran cannot be read (%s); run as superuser: meterplexctl migrate",
                             call.problem.detail ? call.problem.detail : "no answer");
    }
    else if (wrong == NULL) {
        wrong = ctl_migrations_conflict(d->ctl->pool, files, applied);
    }
    if (wrong == NULL && applied->nelts < files->nelts) {
        wrong = apr_psprintf(d->ctl->pool, "%d of %d migrations have not run: meterplexctl migrate",
                             files->nelts - applied->nelts, files->nelts);
    }
    if (wrong) {
        doctor_say(d, FOUND_WRONG, "schema", "%s", wrong);
        return 0;
    }
    doctor_say(d, FOUND_OK, "schema", "up to date, %d migrations", files->nelts);
    return 1;
}

static void check_role(doctor_t *d)
{
    mpx_rows_t *rows;
    const char *role;

    if (!ask(d, "role", SQL_doctor_role, &rows)) {
        return;
    }
    role = mpx_rows_text(rows, 0, 0);
    if (mpx_rows_bool(rows, 0, 1) || mpx_rows_bool(rows, 0, 2)) {
        doctor_say(d, FOUND_WRONG, "role",
                   "%s is %s, so row level security does not bind it: let httpd connect as a plain member of meterplex_app "
                   "(CREATE ROLE meterplex LOGIN IN ROLE meterplex_app)",
                   role, mpx_rows_bool(rows, 0, 1) ? "a superuser" : "BYPASSRLS");
    }
    else if (mpx_rows_bool(rows, 0, 3) || mpx_rows_bool(rows, 0, 5)) {
        doctor_say(d, FOUND_WRONG, "role",
                   "%s owns tables of Meterplex, or is a member of their owner: let httpd connect as a plain member of "
                   "meterplex_app",
                   role);
    }
    else if (!mpx_rows_bool(rows, 0, 4)) {
        doctor_say(d, FOUND_WRONG, "role", "%s has no rights here: GRANT meterplex_app TO \"%s\"", role, role);
    }
    else {
        doctor_say(d, FOUND_OK, "role", "%s, a member of meterplex_app that owns nothing", role);
    }
}

static void check_row_security(doctor_t *d)
{
    mpx_rows_t *rows, *count;
    const char *list = "";
    int i, n;

    if (!ask(d, "row security", SQL_doctor_rls, &rows) || !ask(d, "row security", SQL_doctor_rls_count, &count)) {
        return;
    }
    n = mpx_rows_count(rows);
    for (i = 0; i < n && i < ROWS_SHOWN; i++) {
        list = apr_pstrcat(d->ctl->pool, list, i ? ", " : "", mpx_rows_text(rows, i, 0), NULL);
    }
    if (n) {
        doctor_say(
            d, FOUND_WRONG, "row security",
            "%d tables with tenant_id do not force it (%s%s): ALTER TABLE ... ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL "
            "SECURITY",
            n, list, n > ROWS_SHOWN ? ", ..." : "");
        return;
    }
    if (mpx_rows_int(count, 0, 0) == 0) {
        doctor_say(d, FOUND_WRONG, "row security", "there is no table with tenant_id: is this the right database?");
        return;
    }
    doctor_say(d, FOUND_OK, "row security", "forced on all %s tables with tenant_id", mpx_rows_text(count, 0, 0));
}

static void check_clock(doctor_t *d)
{
    mpx_rows_t *rows;
    apr_time_t before = apr_time_now(), after, server;
    apr_interval_time_t apart;

    if (!ask(d, "clock", SQL_doctor_clock, &rows)) {
        return;
    }
    after = apr_time_now();
    server = mpx_rows_int(rows, 0, 0);
    /* the server read its clock at some moment between the two */
    apart = server < before ? before - server : server > after ? server - after
                                                               : 0;
    if (apart > CLOCK_TOLERANCE) {
        doctor_say(d, FOUND_WRONG, "clock", "this machine and the database are %.1f s apart: run an NTP client on both",
                   (double)apart / 1e6);
        return;
    }
    doctor_say(d, FOUND_OK, "clock", "within 1 s of the database's");
}

static void check_timeouts(doctor_t *d)
{
    mpx_rows_t *rows;
    const char *advice = NULL;

    if (!ask(d, "time-outs", SQL_doctor_timeouts, &rows)) {
        return;
    }
    if (strstr(d->ctl->database, "connect_timeout=") == NULL && getenv("PGCONNECT_TIMEOUT") == NULL) {
        advice = "connect_timeout=2";
    }
    if (mpx_rows_bool(rows, 0, 0) && strstr(d->ctl->database, "tcp_user_timeout=") == NULL) {
        advice = apr_pstrcat(d->ctl->pool, advice ? advice : "", advice ? " " : "", "tcp_user_timeout=3000", NULL);
    }
    if (advice) {
        doctor_say(d, FOUND_ADVICE, "time-outs",
                   "a database that does not answer would be waited for: the connection string given here lacks %s; "
                   "see that the one in DBDParams has it",
                   advice);
        return;
    }
    doctor_say(d, FOUND_OK, "time-outs", "in the connection string");
}

int doctor_database(doctor_t *d)
{
    int complete;

    if (!connected(d)) {
        return 0;
    }
    check_server(d);
    complete = check_schema(d);
    if (complete) {
        check_row_security(d);
    }
    check_role(d);
    check_clock(d);
    check_timeouts(d);
    return complete;
}
