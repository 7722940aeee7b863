/** Queries to start with. Each runs on any data; where events have to be named, those that occur are. */

import type { Schema } from "./api";

export interface Starter {
  name: string;
  sql: string;
}

function quoted(name: string): string {
  return `'${name.replaceAll("'", "''")}'`;
}

/** Three events, the most frequent ones first; without any, those of the documentation's shop. */
function steps(schema: Schema | null): [string, string, string] {
  const names = schema?.events.slice(0, 3).map((event) => event.name) ?? [];
  const [first = "page_view", second = names[0] ?? "add_to_cart", third = names[1] ?? names[0] ?? "purchase"] = names;
  return [first, second, third];
}

function funnel(schema: Schema | null): string {
  const [first, second, third] = steps(schema).map(quoted);
  return `-- Put the events of your funnel in: each step within 7 days of the one before.
WITH one AS (
  SELECT user_id, min(timestamp) AS at FROM events WHERE event = ${first} GROUP BY user_id
), two AS (
  SELECT events.user_id, min(timestamp) AS at
  FROM events JOIN one ON one.user_id = events.user_id AND timestamp BETWEEN at AND at + INTERVAL 7 DAY
  WHERE event = ${second}
  GROUP BY events.user_id
), three AS (
  SELECT events.user_id
  FROM events JOIN two ON two.user_id = events.user_id AND timestamp BETWEEN at AND at + INTERVAL 7 DAY
  WHERE event = ${third}
  GROUP BY events.user_id
)
SELECT 1 AS step, ${first} AS name, count() AS users FROM one
UNION ALL SELECT 2, ${second}, count() FROM two
UNION ALL SELECT 3, ${third}, count() FROM three
ORDER BY step`;
}

export function starters(schema: Schema | null): Starter[] {
  return [
    {
      name: "Events per hour",
      sql: `SELECT date_trunc('hour', timestamp) AS hour, count() AS events
FROM events
WHERE timestamp >= now() - INTERVAL 7 DAY
GROUP BY hour
ORDER BY hour`,
    },
    {
      name: "Unique users per day",
      sql: `SELECT timestamp::DATE AS day, count(DISTINCT user_id) AS users
FROM events
WHERE timestamp >= now() - INTERVAL 30 DAY
GROUP BY day
ORDER BY day`,
    },
    {
      name: "Top properties",
      sql: `-- Which keys the last 100,000 events have.
SELECT unnest(json_keys(properties)) AS key, count() AS events
FROM (SELECT properties FROM events ORDER BY received_at DESC LIMIT 100000)
GROUP BY key
ORDER BY events DESC
LIMIT 20`,
    },
    { name: "Funnel", sql: funnel(schema) },
    {
      name: "Retention",
      sql: `-- How many users come back in the nth week after their first day.
WITH firsts AS (
  SELECT user_id, min(timestamp)::DATE AS day0 FROM events WHERE user_id IS NOT NULL GROUP BY user_id
), active AS (
  SELECT DISTINCT user_id, timestamp::DATE AS day FROM events
)
SELECT date_diff('day', day0, day) // 7 AS week, count(DISTINCT user_id) AS users
FROM firsts JOIN active USING (user_id)
GROUP BY week
ORDER BY week`,
    },
    {
      name: "Last 100 events",
      sql: `SELECT timestamp, event, user_id, properties, context
FROM events
ORDER BY received_at DESC, id DESC
LIMIT 100`,
    },
  ];
}
