// A random maze: rooms two cells apart, joined by a walk that backs up where it is stuck, with
// some walls taken out again so that there is more than one way.

const shuffled = (list) => list.map((x) => [Math.random(), x]).sort((a, b) => a[0] - b[0]).map((x) => x[1]);

export function carve(rows, cols, loops = 0.06) {
  const grid = Array.from({ length: rows }, () => Array(cols).fill("#"));
  const inside = (r, c) => r >= 0 && r < rows && c >= 0 && c < cols;
  const stack = [[0, 0]];
  grid[0][0] = " ";
  while (stack.length) {
    const [r, c] = stack.at(-1);
    const next = shuffled([[0, 2], [2, 0], [0, -2], [-2, 0]]).find(([dr, dc]) => inside(r + dr, c + dc) && grid[r + dr][c + dc] === "#");
    if (!next) {
      stack.pop();
      continue;
    }
    const [dr, dc] = next;
    grid[r + dr / 2][c + dc / 2] = grid[r + dr][c + dc] = " ";
    stack.push([r + dr, c + dc]);
  }
  for (let r = 0; r < rows; r++)
    for (let c = (r + 1) % 2; c < cols; c += 2) if (grid[r][c] === "#" && Math.random() < loops) grid[r][c] = " ";
  const last = (n) => n - 1 - ((n - 1) % 2);
  let goal = [last(rows), last(cols)];
  if (goal.every((n) => n === 0)) { // there is one room only
    goal = [rows - 1, cols - 1];
    grid[0][cols - 1] = " ";
  }
  grid[0][0] = "S";
  grid[goal[0]][goal[1]] = "G";
  return grid.map((row) => row.join(""));
}
