/* Rotation of the root key: the first file signs, all are believed, and what a file has made ends with it. And a file that
 * is not the installation's: the command line refuses it, and the server says so.
 */
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *old_file, *new_file, *stray_file;

static int recorded(int n)
{
    return atoi(h_sql("SELECT count(*) FROM core.root_keys")) == n;
}

static void up(void)
{
    h_up_stopped("<Location /gate>\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n</Location>\n");
    old_file = h_format("%s/root.key", h_dir());
    new_file = h_format("%s/root-2.key", h_dir());
    stray_file = h_format("%s/stray.key", h_dir());
    h_ctl_ok("keygen", new_file, NULL);
    h_ctl_ok("keygen", stray_file, NULL);
    if (!recorded(1)) {
        h_fail("bootstrap has not recorded the root key");
    }
    h_httpd_start(h_main_httpd);
}

/* Exactly these files, in this order; second may be NULL. */
static void use(const char *first, const char *second)
{
    const char *path = h_format("%s/httpd.conf", h_main_httpd->root), *out = "";
    char *text = h_read_file(path), *state = NULL;
    int written = 0;

    ck_assert_ptr_nonnull(text);
    for (char *line = strtok_r(text, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
        if (strncmp(line, "MeterplexKeyFile", 16) != 0) {
            out = h_format("%s%s\n", out, line);
        }
        else if (!written++) {
            out = h_format("%sMeterplexKeyFile %s\n%s", out, first,
                           second ? h_format("MeterplexKeyFile %s\n", second) : "");
        }
    }
    h_file(path, out);
    h_httpd_graceful(h_main_httpd);
}

static const h_response_t *create_once(const char *idempotency_key, const char *slug)
{
    const char *headers[] = { h_format("Idempotency-Key: %s", idempotency_key), NULL };
    h_request_t request = { .path = "/v1/tenants",
                            .key = h_admin_key(),
                            .headers = headers,
                            .body = h_format("{\"name\":\"x\",\"slug\":\"%s\"}", slug) };
    return h_send(&request);
}

START_TEST(a_rotation_from_begin_to_end)
{
    const char *tenant = h_tenant("rotation"), *old_key = h_key(tenant, "api_keys:read", NULL, NULL), *new_key, *fresh_admin;
    const char *list = h_format("/v1/tenants/%s/api-keys", tenant), *cursor;
    const h_response_t *kept, *page, *made;

    h_key(tenant, "demo:read", NULL, NULL);
    kept = create_once("before", "once");
    h_expect(kept, 201);
    page = h_get(h_format("%s?limit=1", list), h_admin_key());
    h_expect(page, 200);
    cursor = h_json_text(page, "/next_cursor");

    use(new_file, old_file);
    H_WAIT(10, recorded(2));
    h_expect(h_get("/v1/auth/me", old_key), 200);
    new_key = h_key(tenant, "api_keys:read", NULL, NULL);
    h_expect(h_get("/v1/auth/me", new_key), 200);
    h_expect(h_get(h_format("%s?limit=1&cursor=%s", list, cursor), h_admin_key()), 200);
    ck_assert_str_eq(create_once("before", "once")->body, kept->body);
    made = h_post(h_format("/v1/tenants/%s/api-keys", tenant), h_admin_key(),
                  "{\"name\":\"admin\",\"scopes\":[\"api_keys:read\",\"tenant:read\"]}");
    h_expect(made, 201);
    fresh_admin = h_json_text(made, "/secret");

    use(new_file, NULL);
    h_expect_problem(h_get("/v1/auth/me", old_key), 401, "invalid_api_key");
    h_expect_problem(h_get("/v1/auth/me", h_admin_key()), 401, "invalid_api_key");
    h_expect(h_get("/v1/auth/me", new_key), 200);
    h_expect(h_get("/health", NULL), 200);
    h_expect_problem(h_get(h_format("%s?limit=1&cursor=%s", list, cursor), fresh_admin), 400, "bad_cursor");

    use(old_file, new_file); /* and back: nothing was destroyed */
    h_expect(h_get("/v1/auth/me", old_key), 200);
    h_expect(h_get("/v1/auth/me", new_key), 200);
    ck_assert_str_eq(create_once("before", "once")->body, kept->body);
}
END_TEST

/* A key of the older root is not less known than one of the newer. */
START_TEST(keys_of_either_root_are_served_without_a_database)
{
    const char *tenant = h_tenant("outage"), *old_key = h_key(tenant, "demo:read", NULL, NULL), *new_key;

    use(new_file, old_file);
    new_key = h_key(tenant, "demo:read", NULL, NULL);
    H_WAIT(5, h_get("/gate/", old_key)->status == 404 && h_get("/gate/", new_key)->status == 404);
    h_pg_stop(H_PG_FAST);
    /* longer than it is remembered that no key of the newer root has the digest */
    for (long long end = h_now_ms() + 6500; h_now_ms() < end; h_pause()) {
        h_expect(h_get("/gate/", old_key), 404);
        h_expect(h_get("/gate/", new_key), 404);
    }
    h_pg_start();
    use(old_file, new_file);
}
END_TEST

/* --- A file that is not the installation's ---------------------------------------------------------------------------- */

static const char *everything(void)
{
    return h_sql("SELECT (SELECT count(*) FROM core.root_keys) || ' ' || (SELECT count(*) FROM identity.api_keys) || ' ' || "
                 "(SELECT count(*) FROM identity.api_key_secrets) || ' ' || (SELECT count(*) FROM audit.entries)");
}

static void is_refused(h_output_t output)
{
    ck_assert_int_eq(output.status, 1);
    ck_assert_str_eq(output.text, "");
    ck_assert_msg(strstr(output.error, h_format("meterplexctl: %s is not a root key of this installation", stray_file))
                      && strstr(output.error, "the file that MeterplexKeyFile names"),
                  "%s", output.error);
}

static const char *doctor(const char *key_file)
{
    const char *source = getenv("top_srcdir");
    return h_ctl("doctor", "--database", h_pg_url("meterplex"), "--key-file", key_file, "--dir",
                 h_format("%s/migrations", source ? source : "."), NULL)
        .text;
}

START_TEST(the_command_line_makes_nothing_with_another_file)
{
    const char *id, *tenant = h_tenant("stray"), *url = h_pg_url("meterplex"), *before, *said;

    h_key(tenant, "demo:read", NULL, &id);
    before = everything();
    is_refused(h_ctl("key", "create", "--tenant", "stray", "--name", "x", "--scope", "demo:read", "--database", url,
                     "--key-file", stray_file, NULL));
    is_refused(h_ctl("key", "rotate", "--tenant", "stray", id, "--database", url, "--key-file", stray_file, NULL));
    is_refused(h_ctl("bootstrap", "--database", url, "--key-file", stray_file, NULL));
    ck_assert_str_eq(everything(), before);

    said = doctor(stray_file);
    ck_assert_msg(strstr(said, h_format("wrong   key file         %s is not a root key of this installation", stray_file))
                      && strstr(said, "MeterplexKeyFile"),
                  "%s", said);
    said = doctor(old_file);
    ck_assert_msg(strstr(said, h_format("ok      key file         %s\n", old_file)) != NULL, "%s", said);
    h_ctl_ok("key", "rotate", "--tenant", "stray", id, "--database", url, "--key-file", old_file, NULL);
}
END_TEST

static int root_key_is(const char *status)
{
    return strcmp(h_json_text(h_get("/health", NULL), "/parts/root_key/status"), status) == 0;
}

/* How often the log has it. */
static int lines_with(const char *text)
{
    char *log = h_read_file(h_main_httpd->log);
    int n = 0;

    for (const char *at = log; at && (at = strstr(at, text)) != NULL; at++) {
        n++;
    }
    free(log);
    return n;
}

START_TEST(a_server_with_another_file_says_so)
{
    const char *strange = h_format("MeterplexKeyFile %s: not a root key of this installation", stray_file);
    const char *key = h_key(h_tenant("reload"), "demo:read", NULL, NULL);

    h_httpd_expect_log("not a root key of this installation");
    ck_assert(root_key_is("ok"));
    use(stray_file, NULL);
    H_WAIT(10, root_key_is("down"));
    h_expect(h_get("/health", NULL), 503);
    h_expect(h_get("/health/ready", NULL), 503);
    ck_assert_ptr_nonnull(strstr(h_json_text(h_get("/health", NULL), "/parts/root_key/detail"), "meterplexctl doctor"));
    /* longer than from one look to the next */
    for (long long end = h_now_ms() + 6500; h_now_ms() < end; h_pause()) {
        h_expect_problem(h_get("/gate/", key), 401, "invalid_api_key");
    }
    ck_assert_int_eq(lines_with(strange), 1);
    ck_assert(root_key_is("down"));
    use(old_file, NULL);
    H_WAIT(10, root_key_is("ok") && h_get("/gate/", key)->status == 404);
    h_expect(h_get("/health/ready", NULL), 200);
    ck_assert_int_eq(lines_with(strange), 1);
    ck_assert_str_eq(h_sql("SELECT count(*) FROM core.root_keys WHERE first_used_at > now() - interval '6 seconds'"), "0");
}
END_TEST

/* The tables of an installation that is older than they are: whatever the server has is its root key. */
START_TEST(an_older_installation_is_recorded_by_the_server)
{
    h_output_t output;

    use(old_file, NULL);
    h_httpd_stop(h_main_httpd);
    h_sql("DELETE FROM core.root_keys");
    ck_assert_ptr_nonnull(strstr(doctor(old_file), "no root key is recorded yet"));
    output = h_ctl("bootstrap", "--database", h_pg_url("meterplex"), "--key-file", stray_file, NULL);
    ck_assert_int_eq(output.status, 1);
    ck_assert_ptr_nonnull(strstr(output.error, "there is a platform administrator already"));
    ck_assert(recorded(0));
    h_httpd_start(h_main_httpd);
    H_WAIT(10, recorded(1));
    is_refused(h_ctl("bootstrap", "--database", h_pg_url("meterplex"), "--key-file", stray_file, NULL));
    h_sql("DELETE FROM core.root_keys"); /* under a server that runs */
    H_WAIT(10, recorded(1));
    ck_assert_ptr_null(strstr(doctor(old_file), "no root key is recorded yet"));
}
END_TEST

/* The root key is lost, and with it every API key. */
START_TEST(a_new_root_key_after_the_old_one_is_lost)
{
    h_output_t again;
    const char *url = h_pg_url("meterplex"), *lost_key = h_key(h_tenant("lost"), "demo:read", NULL, NULL), *admin;
    const char *fresh_file = h_format("%s/fresh.key", h_dir());
    int before = atoi(h_sql("SELECT count(*) FROM core.root_keys"));

    h_httpd_expect_log("not a root key of this installation");
    h_ctl_ok("keygen", fresh_file, NULL);
    use(fresh_file, NULL);
    H_WAIT(10, root_key_is("down"));
    admin = h_ctl_ok("bootstrap", "--new-root-key", "--database", url, "--key-file", fresh_file, NULL);
    admin = h_format("%.*s", (int)strcspn(admin, "\n"), admin);
    ck_assert(recorded(before + 1));
    again = h_ctl("bootstrap", "--new-root-key", "--database", url, "--key-file", fresh_file, NULL);
    ck_assert_ptr_nonnull(strstr(again.error, "is a root key of this installation already"));
    ck_assert_str_eq(h_sql("SELECT actor FROM audit.entries WHERE action = 'root_key.replace'"), "system");
    H_WAIT(10, root_key_is("ok"));
    h_expect(h_get("/v1/tenants", admin), 200);
    h_expect_problem(h_get("/gate/", lost_key), 401, "invalid_api_key");
    h_ctl_ok("key", "create", "--tenant", "lost", "--name", "x", "--scope", "demo:read", "--database", url, "--key-file",
             fresh_file, NULL);
    use(old_file, fresh_file);
}
END_TEST

static h_output_t in_fresh(const char *sql)
{
    const char *url = h_format("postgresql://postgres@127.0.0.1:%d/fresh?connect_timeout=2", h_pg_port());
    return h_command((const char *[]){ "psql", "-XqAt", "-d", url, "-c", sql, NULL }, NULL);
}

/* The same where there was no administrator yet. */
START_TEST(a_first_bootstrap_with_a_new_root_key)
{
    const char *owner = h_format("postgresql://postgres@127.0.0.1:%d/fresh?connect_timeout=2", h_pg_port());
    const char *url = h_format("postgresql://meterplex@127.0.0.1:%d/fresh?connect_timeout=2", h_pg_port());
    const char *source = getenv("top_srcdir");

    h_sql("CREATE DATABASE fresh");
    h_ctl_ok("migrate", "--database", owner, "--dir", h_format("%s/migrations", source ? source : "."), NULL);
    ck_assert_int_eq(in_fresh("INSERT INTO core.root_keys VALUES (decode(repeat('07', 16), 'hex'))").status, 0);
    is_refused(h_ctl("bootstrap", "--database", url, "--key-file", stray_file, NULL));
    ck_assert_str_eq(in_fresh("SELECT count(*) FROM identity.tenants").text, "0\n");
    ck_assert_int_eq(strncmp(h_ctl_ok("bootstrap", "--new-root-key", "--database", url, "--key-file", stray_file, NULL),
                             "mpx_live_", 9),
                     0);
    ck_assert_str_eq(in_fresh("SELECT count(*) FROM core.root_keys").text, "2\n");
    h_sql("DROP DATABASE fresh");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("root_keys");
    TCase *tcase = tcase_create("root_keys");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, the_command_line_makes_nothing_with_another_file);
    tcase_add_test(tcase, a_server_with_another_file_says_so);
    tcase_add_test(tcase, a_rotation_from_begin_to_end);
    tcase_add_test(tcase, keys_of_either_root_are_served_without_a_database);
    tcase_add_test(tcase, an_older_installation_is_recorded_by_the_server);
    tcase_add_test(tcase, a_new_root_key_after_the_old_one_is_lost);
    tcase_add_test(tcase, a_first_bootstrap_with_a_new_root_key);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
