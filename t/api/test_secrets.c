/* No secret that was ever issued stands in the database or in a log, wherever a client has put it. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUESTS 19

static void up(void)
{
    h_up("CustomLog access.json \"%{json}^MX\"\n"
         "<Location /gate>\n    AuthType Meterplex\n    Require meterplex-scope demo:read\n    MeterplexMeter gate.request\n"
         "</Location>\n");
}

static const h_response_t *get_with(const char *path, const char *header)
{
    const char *headers[] = { header, NULL };
    h_request_t request = { .path = path, .headers = headers };
    return h_send(&request);
}

static const char *escaped(const char *key)
{
    return h_format("%%6d%%70x%s", key + 3); /* %6d%70x is mpx */
}

/* Each place of a request that can hold a text. */
static void put_everywhere(const char *key)
{
    h_get("/gate/a", key);
    get_with("/gate/b", h_format("X-API-Key: %s", key));
    get_with(h_format("/gate/c?key=%s", key), NULL);
    get_with(h_format("/gate/d?colour=%s&x=1", key), NULL);
    get_with(h_format("/gate/%s", key), NULL);
    get_with(h_format("/gate/%s", escaped(key)), NULL);
    get_with(h_format("/v1/%s?a=%s", escaped(key), escaped(key)), NULL);
    get_with("/gate/e", h_format("Referer: https://example.org/?k=%s", key));
    get_with("/gate/f", h_format("User-Agent: %s", key));
    get_with("/gate/g", h_format("X-Request-Id: %s", key));
    get_with("/gate/h", h_format("Host: %s", key));
    get_with("/gate/i", h_format("Authorization: Basic %s", key));
    h_call(key, "/gate/j", NULL, NULL);
    get_with("/v1/auth/me", h_format("X-API-Key: %s", key));
    get_with("/v1/auth/me?token=hidden-in-a-parameter", NULL);
    get_with("/v1/auth/me?a=token=hidden-in-a-parameter", NULL);
    get_with("/v1/auth/me?x[a=b]secret=hidden-in-a-parameter", NULL);
    get_with("/v1/auth/me?bypass=1&user[pass]=hidden-in-a-parameter", NULL);
    get_with("/v1/auth/me", "Referer: http://user:hidden-in-a-parameter@example.org/");
}

/* Whole lines that are not about the administrator's requests before: a line is written when its answer is already out, so
 * theirs may come late. */
static int lines_in(const char *path)
{
    char *text = h_read_file(path);
    int n = 0;

    for (const char *line = text ? text : "", *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        const char *other = strstr(line, "\"/v1/tenants");
        n += !other || other > end;
    }
    free(text);
    return n;
}

START_TEST(no_secret_is_kept_or_logged)
{
    const char *tenant = h_tenant("secrets"), *id, *secrets[5];
    const char *headers[] = { "Idempotency-Key: once", NULL };
    h_request_t create = { .path = h_format("/v1/tenants/%s/api-keys", tenant),
                           .key = h_admin_key(),
                           .headers = headers,
                           .body = "{\"name\":\"k\",\"scopes\":[\"demo:read\"]}" };
    const char *log, *dump = h_format("%s/dump.sql", h_dir()), *text;

    secrets[0] = h_key(tenant, "demo:read", NULL, &id);
    secrets[1] = h_json_text(h_send(&create), "/secret");
    ck_assert_str_eq(h_json_text(h_send(&create), "/secret"), secrets[1]); /* kept for the replay, sealed */
    secrets[2] = h_json_text(h_post(h_format("/v1/tenants/%s/api-keys/%s/rotate", tenant, id), h_admin_key(),
                                    "{\"grace_seconds\":3600}"),
                             "/secret");
    secrets[3] = "hidden-in-a-parameter";
    secrets[4] = h_admin_key();
    log = h_format("%s/access.json", h_main_httpd->root);
    ck_assert_int_eq(truncate(log, 0), 0);
    put_everywhere(secrets[0]);
    put_everywhere(secrets[2]);
    /* the platform's look into a tenant is a row of the database, with its path */
    h_expect(h_get(h_format("/v1/tenants/%s/api-keys/%s", tenant, secrets[0]), h_admin_key()), 404);

    /* each line is an object of its own, one a request, and says where the secret stood */
    H_WAIT(5, lines_in(log) >= 2 * REQUESTS);
    ck_assert_int_eq(lines_in(log), 2 * REQUESTS);
    text = h_read_file(log);
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        json_t *object = json_loads(h_format("%.*s", (int)strcspn(line, "\n"), line), 0, NULL);
        ck_assert_msg(object && json_object_get(object, "status"), "not JSON: %.*s", (int)strcspn(line, "\n"), line);
        json_decref(object);
    }
    ck_assert_ptr_nonnull(strstr(text, "key=REDACTED"));
    ck_assert_ptr_nonnull(strstr(text, "/gate/REDACTED"));
    ck_assert_ptr_nonnull(strstr(text, "http://@example.org/"));

    h_command((const char *[]){ "pg_dump", "-d", h_pg_conninfo("postgres"), "-f", dump, NULL }, NULL);
    ck_assert_ptr_nonnull(h_read_file(dump));
    ck_assert_ptr_nonnull(strstr(h_read_file(dump), "COPY identity.api_keys"));
    for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
        /* the body of a key without its env and checksum is as good as the key */
        const char *secret = i == 3 ? secrets[i] : h_format("%.40s", secrets[i] + 9);
        const char *const files[] = { dump, log, h_main_httpd->log };
        for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
            h_output_t found = h_command((const char *[]){ "grep", "-a", "-m1", "-F", secret, files[k], NULL }, NULL);
            ck_assert_msg(found.status == 1, "%s: %s", files[k], found.text);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("secrets");
    TCase *tcase = tcase_create("secrets");

    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, no_secret_is_kept_or_logged);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
