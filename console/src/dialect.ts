/** The words of the node's SQL: what is highlighted, and offered in capitals. */

import { SQLDialect } from "@codemirror/lang-sql";

/** One word after another: the library wants one blank between them. */
function words(text: string): string {
  return text.trim().replace(/\s+/g, " ");
}

export const dialect = SQLDialect.define({
  keywords:
    words(`all and any array as asc asof at between by case cast cross cube cume describe desc distinct else end escape
    except exclude exists explain false filter first following for from full group grouping having ilike in inner
    intersect interval is join lambda last lateral left like limit materialized natural not null nulls offset on or order
    outer over partition positional preceding qualify range recursive replace right rollup row rows sample select semi
    sets show similar some table tables tablesample then ties to true try_cast unbounded union unnest using values when
    where window with within zone`),
  types:
    words(`bigint bit blob boolean bool date day decimal double float hour hugeint int integer json map minute month
    numeric quarter real second smallint struct text time timestamp timestamptz tinyint ubigint uinteger uuid varchar
    variant week year`),
  builtin: "",
  operatorChars: "*+-%<>!=&|~^/?",
  specialVar: "$?",
  doubleDollarQuotedStrings: true,
  charSetCasts: false,
});
