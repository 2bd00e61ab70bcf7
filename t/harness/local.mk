# libharness: a private PostgreSQL and a private httpd for the tests in t/api and t/fault
