-- What a value is called as a group and in a filter: a number by its value, 5 and 5.0 alike; anything else by its text.
CREATE FUNCTION usage.text_of(value jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value) WHEN 'number' THEN trim_scale((value #>> '{}')::numeric)::text ELSE value #>> '{}' END
$$;
