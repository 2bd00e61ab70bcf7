/* Rotation of the root key: the first file signs, all are believed, and what a file has made ends with it. */
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *old_file, *new_file;

static void up(void)
{
    h_up("<Location /gate>\n  AuthType Meterplex\n  Require meterplex-scope demo:read\n</Location>\n");
    old_file = h_format("%s/root.key", h_dir());
    new_file = h_format("%s/root-2.key", h_dir());
    h_ctl_ok("keygen", new_file, NULL);
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

int main(void)
{
    Suite *suite = suite_create("root_keys");
    TCase *tcase = tcase_create("root_keys");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_rotation_from_begin_to_end);
    tcase_add_test(tcase, keys_of_either_root_are_served_without_a_database);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
