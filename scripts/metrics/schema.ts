// A dashboard by Grafana's own types, in which a file's plain strings may stand for the
// members of enumerations, and the options of the panels that are used are checked too.
import type { Dashboard, Panel } from "./node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen";
import type { Options as Stat } from "./node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen";
import type { Options as Series } from "./node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen";

type Strings<T> = T extends string
  ? `${T}`
  : T extends object
    ? { [K in keyof T]: Strings<T[K]> }
    : T;

type Of<Type, Options> = Strings<Omit<Panel, "type" | "options">> & {
  type: Type;
  options?: Strings<Partial<Options>>;
};

export type Plain = Strings<Omit<Dashboard, "panels">> & {
  panels: Array<Of<"stat", Stat> | Of<"timeseries", Series>>;
};
