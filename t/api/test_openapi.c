/* The OpenAPI document lists exactly the routes that the router has. */
#include "harness.h"

#include <ctype.h>
#include <string.h>

static void up(void)
{
    h_up(h_format("MeterplexOpenAPI %s/htdocs/openapi.json\n", getenv("top_srcdir") ? getenv("top_srcdir") : "."));
}

/* Lines "METHOD /path" of the router, as httpd -t -D DUMP_ROUTES prints them. */
static const char *routes(void)
{
    return h_httpd_routes(h_main_httpd).text;
}

static int is_route_of(const char *list, const char *method, const char *path)
{
    const char *line = h_format("\n%s %s ", method, path);
    return strstr(h_format("\n%s", list), line) != NULL;
}

START_TEST(every_route_is_described)
{
    json_t *document = h_json(h_get("/v1/openapi.json", NULL));
    char *copy = strdup(routes()), *state = NULL;
    int n = 0;

    for (char *line = strtok_r(copy, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
        char method[16], path[128];
        json_t *item;
        if (sscanf(line, "%15[A-Z] %127s", method, path) != 2 || path[0] != '/') {
            continue;
        }
        for (char *c = method; *c; c++) {
            *c = (char)tolower(*c);
        }
        item = json_object_get(json_object_get(document, "paths"), path);
        ck_assert_msg(json_object_get(item, method) != NULL, "openapi.json does not describe %s", line);
        n++;
    }
    ck_assert_int_gt(n, 20);
    free(copy);
}
END_TEST

START_TEST(nothing_else_is_described)
{
    static const char *const methods[] = { "get", "post", "put", "patch", "delete", NULL };
    json_t *paths = json_object_get(h_json(h_get("/v1/openapi.json", NULL)), "paths"), *item;
    const char *list = routes(), *path;

    ck_assert_int_gt((int)json_object_size(paths), 10);
    json_object_foreach(paths, path, item)
    {
        for (int i = 0; methods[i]; i++) {
            char upper[16];
            size_t k;
            for (k = 0; methods[i][k]; k++) {
                upper[k] = (char)toupper(methods[i][k]);
            }
            upper[k] = '\0';
            ck_assert_msg(!json_object_get(item, methods[i]) || is_route_of(list, upper, path),
                          "openapi.json describes %s %s, which is no route", upper, path);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("openapi");
    TCase *tcase = tcase_create("openapi");

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, every_route_is_described);
    tcase_add_test(tcase, nothing_else_is_described);
    suite_add_tcase(suite, tcase);
    return h_run(suite, up);
}
