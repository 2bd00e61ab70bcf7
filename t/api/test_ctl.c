/* meterplexctl against a private PostgreSQL: migrations, keys, tenants, what doctor and status say. */
#include "harness.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *key_file;

static void up(void)
{
    h_up_stopped(NULL);
    key_file = h_format("%s/root.key", h_dir());
}

static const char *app(void)
{
    return h_pg_url("meterplex");
}

/* A database of the cluster beside the one that h_up() migrated. */
static const char *database(const char *name, const char *role)
{
    return h_format("postgresql://%s@127.0.0.1:%d/%s?connect_timeout=2", role, h_pg_port(), name);
}

static const char *new_database(const char *name)
{
    h_sql("CREATE DATABASE %s", name);
    return database(name, "postgres");
}

/* First column of the first row in another database. */
static const char *sql_in(const char *url, const char *sql)
{
    PGconn *connection = PQconnectdb(url);
    PGresult *result = PQexec(connection, sql);
    const char *value;

    if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK) {
        h_fail("%s: %s", sql, PQerrorMessage(connection));
    }
    value = PQntuples(result) ? h_format("%s", PQgetvalue(result, 0, 0)) : "";
    PQclear(result);
    PQfinish(connection);
    return value;
}

/* Migrations of a test's own. */
static const char *migrations(const char *name)
{
    const char *dir = h_format("%s/%s", h_dir(), name);

    ck_assert_int_eq(mkdir(dir, 0755), 0);
    h_file(h_format("%s/0001_first.sql", name), "CREATE SCHEMA one; CREATE TABLE one.t (n int);\n");
    h_file(h_format("%s/0002_second.sql", name),
           "-- a comment at the end without a newline\nINSERT INTO one.t VALUES (2); -- end");
    return dir;
}

static const char *built(void)
{
    const char *build = getenv("top_builddir");
    return build ? build : ".";
}

static const char *shipped(void)
{
    const char *source = getenv("top_srcdir");
    return h_format("%s/migrations", source ? source : ".");
}

#define contains(text, part) ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in:\n%s", part, text)
#define lacks(text, part) ck_assert_msg(strstr(text, part) == NULL, "\"%s\" is in:\n%s", part, text)

/* One line that begins with the program's name. */
static void one_line(const char *error)
{
    ck_assert_msg(strncmp(error, "meterplexctl: ", 14) == 0, "not in the usual form: %s", error);
    ck_assert_msg(strchr(error, '\n') == error + strlen(error) - 1, "more than one line: %s", error);
}

/* --- migrate ------------------------------------------------------------------------------------------------------ */

START_TEST(migrate_twice_runs_once)
{
    const char *url = new_database("twice"), *dir = migrations("twice");
    h_output_t output = h_ctl("migrate", "--database", url, "--dir", dir, "--dry-run", NULL);

    ck_assert_int_eq(output.status, 0);
    contains(output.text, "would run 0001_first.sql");
    ck_assert_str_eq(sql_in(url, "SELECT to_regnamespace('one') IS NULL"), "t");
    output = h_ctl("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_int_eq(output.status, 0);
    contains(output.text, "ran 0001_first.sql\nran 0002_second.sql\n");
    output = h_ctl("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_int_eq(output.status, 0);
    contains(output.text, "0 migrations run");
    ck_assert_str_eq(sql_in(url, "SELECT count(*) FROM one.t"), "1");
    ck_assert_str_eq(sql_in(url, "SELECT tableowner FROM pg_tables WHERE schemaname = 'one'"), "meterplex_owner");
    ck_assert_str_eq(sql_in(url, "SELECT string_agg(version || name || length(checksum), ' ' ORDER BY version) "
                                 "FROM meterplex.migrations"),
                     "1first64 2second64");
}
END_TEST

START_TEST(migrate_refuses_a_changed_file)
{
    const char *url = new_database("changed"), *dir = migrations("changed");
    h_output_t output;

    h_ctl_ok("migrate", "--database", url, "--dir", dir, NULL);
    h_file("changed/0003_third.sql", "INSERT INTO one.t VALUES (3);");
    h_file("changed/0001_first.sql", "CREATE SCHEMA one; CREATE TABLE one.t (n bigint);\n");
    output = h_ctl("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "0001_first.sql");
    one_line(output.error);
    ck_assert_str_eq(sql_in(url, "SELECT count(*) FROM one.t"), "1");
    h_file("changed/0001_first.sql", "CREATE SCHEMA one; CREATE TABLE one.t (n int);\n");
    h_ctl_ok("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_str_eq(sql_in(url, "SELECT max(n) FROM one.t"), "3");
}
END_TEST

START_TEST(migrate_refuses_missing_doubled_and_late_files)
{
    const char *url = new_database("numbers"), *dir = migrations("numbers");
    h_output_t output;

    h_file("numbers/0002_twin.sql", "SELECT 1;");
    output = h_ctl("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "0002_twin.sql");
    ck_assert_str_eq(sql_in(url, "SELECT to_regnamespace('one') IS NULL"), "t");
    ck_assert_int_eq(rename(h_format("%s/0002_twin.sql", dir), h_format("%s/0004_fourth.sql", dir)), 0);
    h_ctl_ok("migrate", "--database", url, "--dir", dir, NULL);

    h_file("numbers/0003_late.sql", "SELECT 1;");
    output = h_ctl("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "0003_late.sql");
    ck_assert_int_eq(unlink(h_format("%s/0003_late.sql", dir)), 0);

    ck_assert_int_eq(unlink(h_format("%s/0002_second.sql", dir)), 0);
    output = h_ctl("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "0002_second.sql");

    h_file("numbers/0005_Fifth.sql", "SELECT 1;");
    output = h_ctl("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "0005_Fifth.sql");
}
END_TEST

START_TEST(a_failed_migration_leaves_nothing)
{
    const char *url = new_database("failed"), *dir = migrations("failed");
    h_output_t output;

    h_file("failed/0003_third.sql", "CREATE TABLE one.u (n int);\nINSERT INTO one.u SELECT 1/0;\n");
    output = h_ctl("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "0003_third.sql");
    contains(output.error, "22012");
    one_line(output.error);
    ck_assert_str_eq(sql_in(url, "SELECT to_regclass('one.u') IS NULL AND max(version) = 2 FROM meterplex.migrations"), "t");
    h_file("failed/0003_third.sql", "CREATE TABLE one.u (n int);\n");
    h_ctl_ok("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_str_eq(sql_in(url, "SELECT max(version) FROM meterplex.migrations"), "3");
}
END_TEST

/* What stood before a file's own COMMIT could not be taken back, and the file could not be run again. */
START_TEST(a_migration_that_ends_its_transaction_leaves_nothing)
{
    static const char *const wrong[] = {
        "CREATE TABLE one.u (n int);\nCOMMIT;\nINSERT INTO one.u SELECT 1/0;\n",
        "BEGIN;\nCREATE TABLE one.u (n int);\nCOMMIT;\n",
        "ROLLBACK;\nBEGIN;\nCREATE TABLE one.u (n int);\nCOMMIT;\nSELECT 1/0;",
        "CREATE TABLE one.u (n int); /* $ */ END",
        "CREATE TABLE one.u (n int); DO 'BEGIN COMMIT; END'; SELECT 1/0;",
    };
    const char *url = new_database("ended"), *dir = migrations("ended");
    h_output_t output;
    size_t i;

    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        h_file("ended/0003_third.sql", wrong[i]);
        output = h_ctl("migrate", "--database", url, "--dir", dir, NULL);
        ck_assert_msg(output.status == 1, "it was run: %s", wrong[i]);
        contains(output.error, "0003_third.sql failed, and nothing of it remains: ");
        if (strstr(wrong[i], "DO ") == NULL) {
            contains(output.error, "it may hold no BEGIN, COMMIT, ROLLBACK or SAVEPOINT of its own");
        }
        one_line(output.error);
        ck_assert_str_eq(sql_in(url, "SELECT to_regclass('one.u') IS NULL AND max(version) = 2 FROM meterplex.migrations"),
                         "t");
    }
    h_file("ended/0003_third.sql", "CREATE TABLE one.u (n int);\nINSERT INTO one.u VALUES (length('$$ COMMIT; \\'));\n"
                                   "CREATE FUNCTION one.f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT n FROM one.u; END;"
                                   " -- $");
    h_ctl_ok("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_str_eq(sql_in(url, "SELECT one.f() || ' ' || tableowner FROM pg_tables WHERE tablename = 'u'"),
                     "12 meterplex_owner");
}
END_TEST

START_TEST(a_lost_connection_is_not_said_to_leave_nothing)
{
    const char *url = new_database("cut_off"), *dir = migrations("cut_off");
    h_output_t output;

    h_file("cut_off/0003_third.sql", "RESET ROLE; SELECT pg_terminate_backend(pg_backend_pid());");
    output = h_ctl("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "0003_third.sql was begun, and its end is not known: the connection to the database was lost");
    one_line(output.error);
    h_file("cut_off/0003_third.sql", "CREATE TABLE one.u (n int);");
    contains(h_ctl_ok("migrate", "--database", url, "--dir", dir, NULL), "1 migration run");
}
END_TEST

START_TEST(two_migrates_at_once)
{
    const char *url = new_database("at_once"), *dir = migrations("at_once");
    const char *one = h_format("%s/meterplexctl migrate --database '%s' --dir %s", built(), url, dir);
    const char *argv[] = { "sh", "-c", h_format("%s & first=$!; %s; second=$?; wait $first && exit $second", one, one),
                           NULL };
    h_output_t output;

    h_file("at_once/0003_slow.sql", "SELECT pg_sleep(0.5); INSERT INTO one.t VALUES (3);");
    output = h_command(argv, NULL);
    ck_assert_msg(output.status == 0, "%s%s", output.text, output.error);
    contains(output.text, "3 migrations run");
    contains(output.text, "0 migrations run");
    ck_assert_str_eq(sql_in(url, "SELECT count(*) FROM one.t"), "2");
}
END_TEST

START_TEST(the_second_migrate_waits_and_says_so)
{
    const char *url = new_database("locked"), *dir = migrations("locked");
    PGconn *first = PQconnectdb(url);
    h_output_t output;

    PQclear(PQexec(first, "SELECT pg_advisory_lock(1297110085, 1)"));
    output = h_ctl("migrate", "--database", url, "--dir", dir, "--wait", "1", NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "another migrate is at work on this database; waiting for it");
    contains(output.error, "--wait");
    PQfinish(first);
    h_ctl_ok("migrate", "--database", url, "--dir", dir, NULL);
}
END_TEST

START_TEST(without_rights_the_sql_for_an_administrator_is_shown)
{
    const char *url = database("plain", "plain"), *dir = migrations("plain");
    h_output_t output;

    h_sql("CREATE ROLE plain LOGIN");
    new_database("plain");
    output = h_ctl("migrate", "--database", url, "--dir", dir, NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "GRANT meterplex_owner TO plain;\nGRANT CREATE ON DATABASE plain TO meterplex_owner;\n");
    h_sql("GRANT meterplex_owner TO plain");
    h_sql("GRANT CREATE ON DATABASE plain TO meterplex_owner");
    h_ctl_ok("migrate", "--database", url, "--dir", dir, NULL);
}
END_TEST

/* --- keygen, bootstrap, tenants, keys ----------------------------------------------------------------------------- */

/* A key may hold any byte, NUL too. */
static void read_key(const char *path, unsigned char bytes[32])
{
    FILE *file = fopen(path, "rb");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(bytes, 1, 32, file), 32);
    fclose(file);
}

START_TEST(keygen_never_overwrites)
{
    const char *path = h_format("%s/new.key", h_dir());
    h_output_t output = h_ctl("keygen", path, NULL);
    struct stat st;
    unsigned char before[32], after[32];

    ck_assert_int_eq(output.status, 0);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(st.st_size, 32);
    read_key(path, before);
    output = h_ctl("keygen", path, NULL);
    ck_assert_int_eq(output.status, 1);
    one_line(output.error);
    read_key(path, after);
    ck_assert_mem_eq(before, after, 32);
    /* nor through a link that leads nowhere yet */
    ck_assert_int_eq(symlink("elsewhere.key", h_format("%s/link.key", h_dir())), 0);
    output = h_ctl("keygen", h_format("%s/link.key", h_dir()), NULL);
    ck_assert_int_eq(output.status, 1);
    ck_assert_int_ne(access(h_format("%s/elsewhere.key", h_dir()), F_OK), 0);
}
END_TEST

START_TEST(a_second_bootstrap_is_refused)
{
    h_output_t output = h_ctl("bootstrap", "--database", app(), "--key-file", key_file, NULL);

    ck_assert_int_eq(output.status, 1);
    contains(output.error, "there is a platform administrator already");
    lacks(output.error, "mpx_live_");
    one_line(output.error);
    ck_assert_str_eq(h_sql("SELECT count(*) FROM identity.tenants WHERE platform"), "1");
}
END_TEST

static const char *first_word(const char *text)
{
    return h_format("%.*s", (int)strcspn(text, " \n"), text);
}

START_TEST(tenants_are_made_listed_and_suspended)
{
    const char *id = first_word(h_ctl_ok("tenant", "create", "--slug", "acme", "--name", "Acme", "--database", app(), NULL));
    h_output_t output = h_ctl("--database", app(), "tenant", "create", "--slug", "acme", NULL);

    ck_assert_int_eq(output.status, 1);
    contains(output.error, "\"acme\"");
    contains(h_ctl_ok("tenant", "list", "--database", app(), NULL), id);
    h_ctl_ok("tenant", "suspend", "acme", "--database", app(), NULL);
    ck_assert_str_eq(h_sql("SELECT status FROM identity.tenants WHERE slug = 'acme'"), "suspended");
    h_ctl_ok("tenant", "activate", id, "--database", app(), NULL);
    ck_assert_str_eq(h_sql("SELECT status FROM identity.tenants WHERE slug = 'acme'"), "active");
    ck_assert_str_eq(h_sql("SELECT string_agg(DISTINCT actor, ' ') || ' ' || count(*) FROM audit.entries "
                           "WHERE target = '%s'",
                           id),
                     "system 3");
    output = h_ctl("tenant", "suspend", "nobody", "--database", app(), NULL);
    ck_assert_int_eq(output.status, 1);
    one_line(output.error);
    output = h_ctl("tenant", "create", "--slug", "Not A Slug", "--database", app(), NULL);
    ck_assert_int_eq(output.status, 2);
    one_line(output.error);
}
END_TEST

START_TEST(a_key_is_shown_once)
{
    const char *secret, *list, *id, *rotated;
    h_output_t output;

    h_ctl_ok("tenant", "create", "--slug", "keys", "--database", app(), NULL);
    secret = first_word(h_ctl_ok("key", "create", "--tenant", "keys", "--name", "shop", "--scope", "weather:read", "--scope",
                                 "b:c a:b", "--rate", "100/s", "--env", "test", "--database", app(), "--key-file", key_file,
                                 NULL));
    ck_assert_int_eq(strncmp(secret, "mpx_test_", 9), 0);
    output = h_ctl("key", "create", "--tenant", "keys", "--name", "all", "--scope", "demo:*", "--database", app(),
                   "--key-file", key_file, NULL);
    ck_assert_int_eq(output.status, 2);
    contains(output.error, "there are no wildcards");
    list = h_ctl_ok("key", "list", "--tenant", "keys", "--database", app(), NULL);
    lacks(list, secret);
    contains(list, "[a:b b:c weather:read]");
    contains(list, secret + strlen(secret) - 4);
    id = first_word(list);
    rotated =
        first_word(h_ctl_ok("key", "rotate", "--tenant", "keys", id, "--database", app(), "--key-file", key_file, NULL));
    ck_assert_str_ne(rotated, secret);
    ck_assert_str_eq(h_sql("SELECT rate_count || ' ' || rate_period FROM identity.api_keys WHERE name = 'shop'"), "100 1");
    h_ctl_ok("key", "revoke", "--tenant", "keys", id, "--database", app(), NULL);
    output = h_ctl("key", "revoke", "--tenant", "keys", id, "--database", app(), NULL);
    ck_assert_int_eq(output.status, 1);
    one_line(output.error);
    ck_assert_str_eq(h_ctl_ok("key", "list", "--tenant", "keys", "--database", app(), NULL), "");
}
END_TEST

START_TEST(a_wrong_command_line_is_said)
{
    static const char *const wrong[][5] = {
        { "nonsense", NULL },
        { "key", NULL },
        { "migrate", "--nonsense", NULL },
        { "keygen", NULL },
        { "keygen", "a", "b", NULL },
        { "key", "create", "--tenant", NULL },
        { "key", "create", "--tenant", "x", NULL },
        { "migrate", "--dry-run=yes", NULL },
        { "migrate", "--wait", "soon", NULL },
        { "key", "list", NULL },
        { "tenant", "list", NULL }, /* no database is named */
    };
    size_t i;

    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        h_output_t output = h_ctl(wrong[i][0], wrong[i][1], wrong[i][2], wrong[i][3], wrong[i][4], NULL);
        ck_assert_msg(output.status == 2, "%s %s: status %d", wrong[i][0], wrong[i][1] ? wrong[i][1] : "", output.status);
        one_line(output.error);
        contains(output.error, "--help");
        ck_assert_str_eq(output.text, "");
    }
    contains(h_ctl_ok("--help", NULL), "key rotate");
    contains(h_ctl_ok("key", "create", "--help", NULL), "--expires");
    contains(h_ctl_ok("--version", NULL), "meterplexctl ");
}
END_TEST

/* --- doctor, status ----------------------------------------------------------------------------------------------- */

/* The finding of a check, out of doctor's JSON. */
static const char *finding(const h_output_t *output, const char *check)
{
    json_t *root = json_loads(output->text, 0, NULL), *one;
    size_t i;
    const char *found = "(none)";

    ck_assert_msg(root != NULL, "no JSON: %s%s", output->text, output->error);
    json_array_foreach(json_object_get(root, "checks"), i, one)
    {
        if (strcmp(json_string_value(json_object_get(one, "check")), check) == 0) {
            found = h_format("%s", json_string_value(json_object_get(one, "finding")));
        }
    }
    json_decref(root);
    return found;
}

static h_output_t doctor(const char *url, const char *key, const char *state)
{
    return h_ctl("doctor", "--json", "--database", url, "--key-file", key, "--state-dir", state, "--dir", shipped(),
                 "--modules", h_format("%s/.libs", built()), NULL);
}

START_TEST(doctor_finds_nothing_wrong)
{
    const char *preload = getenv("METERPLEX_PRELOAD");
    const char *state = h_format("%s/doctor-state", h_dir());
    h_output_t output;

    ck_assert_int_eq(mkdir(state, 0700), 0);
    output = doctor(app(), key_file, state);
    ck_assert_str_eq(finding(&output, "httpd"), "ok");
    ck_assert_str_eq(finding(&output, "key file"), "ok");
    ck_assert_str_eq(finding(&output, "state directory"), "ok");
    ck_assert_str_eq(finding(&output, "database"), "ok");
    ck_assert_str_eq(finding(&output, "schema"), "ok");
    ck_assert_str_eq(finding(&output, "role"), "ok");
    ck_assert_str_eq(finding(&output, "row security"), "ok");
    ck_assert_str_eq(finding(&output, "clock"), "ok");
    /* the run-time library of a sanitizer must come first, and nobody preloads it here */
    if (preload == NULL || *preload == '\0') {
        ck_assert_str_eq(finding(&output, "modules"), "ok");
        ck_assert_int_eq(output.status, 0);
    }
}
END_TEST

START_TEST(doctor_looks_at_the_servers_own_configuration)
{
    const char *preload = getenv("METERPLEX_PRELOAD"), *conf = h_format("%s/doctor.conf", h_dir());
    h_httpd_t *made = h_httpd_make("looked-at", 1, NULL);
    char *text = h_read_file(h_format("%s/httpd.conf", made->root)), *line;
    h_output_t output;

    if (preload && *preload) {
        return h_skip("a sanitized module cannot be loaded without its library");
    }
    output = h_ctl("doctor", "--json", "--conf", h_format("%s/httpd.conf", made->root), NULL);
    ck_assert_str_eq(finding(&output, "configuration"), "ok");
    line = strstr(text, "LoadModule meterplex_limit_module");
    ck_assert_ptr_nonnull(line);
    *line = '#';
    h_file("doctor.conf", text);
    output = h_ctl("doctor", "--json", "--conf", conf, NULL);
    ck_assert_str_eq(finding(&output, "configuration"), "wrong");
    ck_assert_ptr_nonnull(strstr(output.text, "meterplex_limit_module"));
    h_file("doctor.conf", "LoadModule no_such_module /nowhere.so\n");
    output = h_ctl("doctor", "--json", "--conf", conf, NULL);
    ck_assert_str_eq(finding(&output, "configuration"), "wrong");
    output = h_ctl("doctor", "--json", "--conf", "/nonexistent/httpd.conf", NULL);
    ck_assert_str_eq(finding(&output, "configuration"), "wrong");
    ck_assert_ptr_nonnull(strstr(output.text, "cannot be read: No such file or directory"));
    free(text);
}
END_TEST

/* A program that says what httpd says and ends with 1, as httpd does when it would not start. */
static const char *stand_in(const char *name, const char *says)
{
    const char *path = h_file(name, h_format("#!/bin/sh\n"
                                             "[ \"$1\" != -v ] || { echo 'Server version: Apache/2.4.62'; exit 0; }\n"
                                             "cat <<'EOF' >&2\n%sEOF\nexit 1\n",
                                             says));
    ck_assert_int_eq(chmod(path, 0755), 0);
    return path;
}

/* What doctor says is wrong with one thing, without what stands before it. */
static const char *wrong_with(const char *check, const h_output_t *output)
{
    const char *begins = h_format("wrong   %-16s ", check), *found = strstr(output->text, begins);

    ck_assert_msg(found != NULL, "%s is not wrong", check);
    found += strlen(begins);
    return h_format("%.*s", (int)strcspn(found, "\n"), found);
}

static const char *configuration_of(const char *program)
{
    h_output_t output = h_ctl("doctor", "--httpd", program, "--conf", h_file("stand-in.conf", ""), NULL);
    return wrong_with("configuration", &output);
}

#define NO_NAME                                                                                                      \
    "AH00557: apache2: apr_sockaddr_info_get() failed for box\n"                                                     \
    "AH00558: apache2: Could not reliably determine the server's fully qualified domain name, using 127.0.1.1. Set " \
    "the 'ServerName' directive globally to suppress this message\n"

#define WOULD_NOT "httpd would not start with it: "

START_TEST(doctor_says_the_fault_and_not_a_warning)
{
    h_httpd_t *typo = h_httpd_make("typo", 0, "NoSuchDirective on\n");
    const char *conf = h_format("%s/httpd.conf", typo->root), *said;
    h_output_t output = h_ctl("doctor", "--conf", conf, NULL);

    said = wrong_with("configuration", &output);
    contains(said, WOULD_NOT "Syntax error on line ");
    contains(said, h_format(" of %s: Invalid command 'NoSuchDirective', perhaps misspelled", conf));
    ck_assert_str_eq(configuration_of(stand_in("two-lines", NO_NAME "AH00526: Syntax error on line 4 of /etc/x.conf:\n"
                                                                    "DocumentRoot '/no' is not a directory\n"
                                                                    "Action '-t' failed.\n")),
                     WOULD_NOT "Syntax error on line 4 of /etc/x.conf: DocumentRoot '/no' is not a directory");
    ck_assert_str_eq(configuration_of(stand_in("one-line", NO_NAME "apache2: Syntax error on line 9 of /etc/x.conf: Cannot "
                                                                   "load /no.so into server: no such file\n"
                                                                   "Action '-t' failed.\n")),
                     WOULD_NOT "Syntax error on line 9 of /etc/x.conf: Cannot load /no.so into server: no such file");
    ck_assert_str_eq(configuration_of(stand_in("no-syntax", NO_NAME "\n[Fri May 01] [so:warn] [pid 1] AH01574: already\n"
                                                                    "AH00526: the key file is not there\n"
                                                                    "AH00014: Configuration check failed\n")),
                     WOULD_NOT "AH00526: the key file is not there");
    ck_assert_str_eq(configuration_of(stand_in("nothing", "")), WOULD_NOT "it does not say why");
    /* the modules, too */
    output = h_ctl("doctor", "--httpd", stand_in("killed", NO_NAME "apache2: no room for a lock\n"), "--modules",
                   h_format("%s/.libs", built()), NULL);
    ck_assert_str_eq(wrong_with("modules", &output), "httpd ends while it loads them: apache2: no room for a lock");
}
END_TEST

/* Advice to grant the owner's role to httpd's would undo what keeps tenants apart. */
/* Where the administrator's locale is C, createdb makes one that cannot hold what JSON can say. */
START_TEST(migrate_and_doctor_want_utf8)
{
    const char *url = h_format("host=127.0.0.1 port=%d dbname=ascii user=postgres", h_pg_port());
    h_output_t output;

    h_sql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    output = h_ctl("migrate", "--database", url, "--dir", shipped(), NULL);
    ck_assert_int_ne(output.status, 0);
    one_line(output.error);
    contains(output.error, "createdb -E UTF8 -T template0");
    output = h_ctl("doctor", "--database", url, "--dir", shipped(), NULL);
    ck_assert_int_ne(output.status, 0);
    contains(output.text, "ascii has the encoding SQL_ASCII");
    h_sql("DROP DATABASE ascii");
}
END_TEST

START_TEST(migrate_is_not_for_httpds_role)
{
    h_output_t output = h_ctl("migrate", "--database", app(), "--dir", shipped(), NULL);

    ck_assert_int_eq(output.status, 1);
    ck_assert_ptr_nonnull(strstr(output.error, "must own nothing"));
    ck_assert_ptr_null(strstr(output.error, "GRANT"));
}
END_TEST

START_TEST(doctor_finds_what_is_wrong)
{
    const char *open_key = h_file("open.key", "0123456789abcdef0123456789abcdef");
    const char *state = h_format("%s/nowhere", h_dir()), *broken;
    h_output_t output = doctor(h_pg_url("postgres"), open_key, state);

    ck_assert_int_eq(output.status, 1);
    ck_assert_str_eq(finding(&output, "key file"), "wrong");
    ck_assert_str_eq(finding(&output, "state directory"), "wrong");
    ck_assert_str_eq(finding(&output, "role"), "wrong");
    ck_assert_str_eq(finding(&output, "row security"), "ok");

    output = doctor(database("postgres", "postgres"), key_file, h_dir());
    ck_assert_int_eq(output.status, 1);
    ck_assert_str_eq(finding(&output, "schema"), "wrong");

    output = doctor("host=127.0.0.1 port=1 connect_timeout=1", key_file, h_dir());
    ck_assert_int_eq(output.status, 1);
    ck_assert_str_eq(finding(&output, "database"), "wrong");

    /* a module that is none, beside four that are */
    broken = h_format("%s/broken", h_dir());
    output = h_command((const char *[]){ "sh", "-c", h_format("mkdir %s && cp %s/.libs/mod_meterplex*.so %s && echo junk > "
                                                              "%s/mod_meterplex_usage.so",
                                                              broken, getenv("top_builddir"), broken, broken),
                                         NULL },
                       NULL);
    ck_assert_msg(output.status == 0, "%s", output.error);
    output = h_ctl("doctor", "--json", "--modules", broken, NULL);
    ck_assert_str_eq(finding(&output, "modules"), "wrong");
    ck_assert_ptr_null(strstr(output.error, "MeterplexKeyFile")); /* what httpd says is read, and not shown in between */

    output = h_ctl("doctor", "--json", "--httpd", "/nonexistent/httpd", NULL);
    ck_assert_int_eq(output.status, 1);
    ck_assert_str_eq(finding(&output, "httpd"), "wrong");
    ck_assert_str_eq(finding(&output, "database"), "wrong");
    output = h_ctl("doctor", "--json", "--httpd", "/bin/true", NULL);
    ck_assert_str_eq(finding(&output, "httpd"), "wrong");
}
END_TEST

START_TEST(doctor_sees_a_table_that_does_not_force_row_security)
{
    h_output_t output;

    h_sql("ALTER TABLE usage.meters NO FORCE ROW LEVEL SECURITY");
    output = doctor(app(), key_file, h_dir());
    h_sql("ALTER TABLE usage.meters FORCE ROW LEVEL SECURITY");
    ck_assert_str_eq(finding(&output, "row security"), "wrong");
    contains(output.text, "usage.meters");
}
END_TEST

START_TEST(status_counts_as_the_platform)
{
    h_output_t output;
    json_t *root;
    const char *tenants = h_sql("SELECT count(*) FROM identity.tenants WHERE deleted_at IS NULL");

    output = h_ctl("status", "--json", "--tenants", "--database", app(), NULL);
    ck_assert_msg(output.status == 0, "%s", output.error);
    root = json_loads(output.text, 0, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(root, "counts"), "tenants")), atoi(tenants));
    ck_assert_int_ge(json_integer_value(json_object_get(json_object_get(root, "counts"), "api_keys")), 1);
    ck_assert_int_eq((int)json_array_size(json_object_get(root, "tenants")), atoi(tenants));
    json_decref(root);
    output = h_ctl("status", "--database", database("postgres", "postgres"), NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.error, "meterplexctl migrate");
    output = h_ctl("status", "--database", app(), "--url", "http://127.0.0.1:1", NULL);
    ck_assert_int_eq(output.status, 1);
}
END_TEST

/* The member httpd of status's JSON, as JSON text. */
static const char *httpd_of(const h_output_t *output)
{
    json_t *root = json_loads(output->text, 0, NULL);
    const char *text;

    ck_assert_msg(root != NULL, "no JSON: %s%s", output->text, output->error);
    text = json_dumps(json_object_get(root, "httpd"), JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    json_decref(root);
    return text ? text : "";
}

/* Whether httpd lives is asked most of all when the database does not. */
START_TEST(status_looks_at_httpd_without_a_database)
{
    const char *nowhere = "host=127.0.0.1 port=1 connect_timeout=1";
    const char *url = h_format("http://127.0.0.1:%d", h_main_httpd->port);
    h_output_t output;

    h_httpd_start(h_main_httpd);
    output = h_ctl("status", "--database", nowhere, "--url", url, NULL);
    ck_assert_int_eq(output.status, 1);
    ck_assert_str_eq(output.text, h_format("httpd       %s is live\n", url));
    contains(output.error, "the database cannot be reached: ");
    one_line(output.error);
    output = h_ctl("status", "--json", "--tenants", "--database", nowhere, "--url", url, NULL);
    ck_assert_int_eq(output.status, 1);
    ck_assert_str_eq(httpd_of(&output), h_format("{\"live\":true,\"status\":200,\"url\":\"%s\"}", url));
    /* a database without the schema is none either */
    output = h_ctl("status", "--database", database("postgres", "postgres"), "--url", url, NULL);
    ck_assert_int_eq(output.status, 1);
    contains(output.text, "is live\n");
    contains(output.error, "meterplexctl migrate");
    h_httpd_stop(h_main_httpd);
    output = h_ctl("status", "--json", "--database", nowhere, "--url", url, NULL);
    ck_assert_int_eq(output.status, 1);
    contains(httpd_of(&output), "{\"live\":false,\"problem\":\"");
    /* and without --url nothing is said that is not known */
    output = h_ctl("status", "--json", "--database", nowhere, NULL);
    ck_assert_int_eq(output.status, 1);
    ck_assert_str_eq(output.text, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ctl");
    TCase *tcase = tcase_create("ctl");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, migrate_twice_runs_once);
    tcase_add_test(tcase, migrate_refuses_a_changed_file);
    tcase_add_test(tcase, migrate_refuses_missing_doubled_and_late_files);
    tcase_add_test(tcase, a_failed_migration_leaves_nothing);
    tcase_add_test(tcase, a_migration_that_ends_its_transaction_leaves_nothing);
    tcase_add_test(tcase, a_lost_connection_is_not_said_to_leave_nothing);
    tcase_add_test(tcase, two_migrates_at_once);
    tcase_add_test(tcase, the_second_migrate_waits_and_says_so);
    tcase_add_test(tcase, without_rights_the_sql_for_an_administrator_is_shown);
    tcase_add_test(tcase, keygen_never_overwrites);
    tcase_add_test(tcase, a_second_bootstrap_is_refused);
    tcase_add_test(tcase, tenants_are_made_listed_and_suspended);
    tcase_add_test(tcase, a_key_is_shown_once);
    tcase_add_test(tcase, a_wrong_command_line_is_said);
    tcase_add_test(tcase, doctor_finds_nothing_wrong);
    tcase_add_test(tcase, doctor_looks_at_the_servers_own_configuration);
    tcase_add_test(tcase, doctor_says_the_fault_and_not_a_warning);
    tcase_add_test(tcase, migrate_and_doctor_want_utf8);
    tcase_add_test(tcase, migrate_is_not_for_httpds_role);
    tcase_add_test(tcase, doctor_finds_what_is_wrong);
    tcase_add_test(tcase, doctor_sees_a_table_that_does_not_force_row_security);
    tcase_add_test(tcase, status_counts_as_the_platform);
    tcase_add_test(tcase, status_looks_at_httpd_without_a_database);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
