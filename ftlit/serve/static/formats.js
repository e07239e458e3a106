// Files of rows as the command `predict` reads and writes them.

export function readJsonl(text) {
  return text.replace(/^\uFEFF/, "").split("\n").flatMap((line, i) => (line.trim() ? [object(line, i + 1)] : []));
}

function object(line, number) {
  let found;
  try {
    found = JSON.parse(line);
  } catch (error) {
    throw new Error(`line ${number} is not valid JSON: ${error.message}`);
  }
  if (found === null || typeof found !== "object" || Array.isArray(found)) throw new Error(`line ${number} is not an object with columns`);
  return found;
}

// A csv file, or with tabs between its cells a tsv file.
export function readDelimited(text, delimiter) {
  const [header, ...rows] = cells(text.replace(/^\uFEFF/, ""), delimiter);
  if (!header) return [];
  return rows.map((row, i) => {
    if (row.length !== header.length) throw new Error(`row ${i + 1} has ${row.length} cells; the header has ${header.length}`);
    return Object.fromEntries(header.map((name, column) => [name, row[column]]));
  });
}

// The rows of a csv text: cells in quotes may hold delimiters, line ends, and quotes that are doubled (RFC 4180).
function cells(text, delimiter) {
  const rows = [];
  let row = [];
  const cell = new RegExp(`("(?:[^"]|"")*"|[^"${delimiter}\\r\\n]*)(${delimiter}|\\r\\n|\\n|\\r|$)`, "y");
  while (cell.lastIndex < text.length) {
    const at = cell.lastIndex;
    const found = cell.exec(text);
    if (!found) throw new Error(`row ${rows.length} of the file has a quote that is not closed, or is in the middle of a cell`);
    row.push(found[1].startsWith('"') ? found[1].slice(1, -1).replaceAll('""', '"') : found[1]);
    if (found[2] === delimiter && cell.lastIndex < text.length) continue;
    if (found[2] === delimiter) row.push("");
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
    if (cell.lastIndex === at) break;
  }
  return rows;
}

export function delimited(answers, delimiter) {
  const flat = answers.map(flattened);
  const columns = [...new Set(flat.flatMap((row) => Object.keys(row)))];
  const line = (values) => `${values.map((value) => quoted(value, delimiter)).join(delimiter)}\r\n`;
  return [line(columns), ...flat.map((row) => line(columns.map((name) => row[name])))].join("");
}

function flattened({ scores, problem, ...rest }) {
  const named = scores && !Array.isArray(scores) ? Object.entries(scores).map(([label, score]) => [`scores.${label}`, score]) : [];
  const more = scores && Array.isArray(scores) ? { scores } : {};
  const wrong = problem ? { problem: problem.detail } : {};
  return { ...rest, ...more, ...Object.fromEntries(named), truncated: rest.truncated ?? false, ...wrong };
}

function quoted(value, delimiter) {
  if (value === undefined || value === null) return "";
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return /["\r\n]/.test(text) || text.includes(delimiter) ? `"${text.replaceAll('"', '""')}"` : text;
}
