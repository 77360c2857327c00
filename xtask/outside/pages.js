// Opens each page given as an argument in Chromium, as wide as a telephone, in light and in dark, and reads it with axe.
// Exit code 1 if a page loads anything beside itself, says an error, scrolls sideways, or has a serious finding.
const { pathToFileURL } = require("node:url");
const { chromium } = require("playwright-core");
const axe = require("axe-core");

const SERIOUS = ["serious", "critical"];

async function faults(browser, path, colorScheme) {
  const page = await browser.newPage({ viewport: { width: 360, height: 800 }, colorScheme });
  const found = [];
  const address = pathToFileURL(path).href;
  page.on("request", (request) => {
    if (request.url() !== address) found.push(`loads ${request.url()}`);
  });
  page.on("console", (line) => found.push(`console: ${line.text()}`));
  page.on("pageerror", (error) => found.push(`error: ${error.message}`));
  await page.goto(address);
  // All that can be unfolded is looked at too.
  const beyond = await page.evaluate(() => {
    document.querySelectorAll("details").forEach((details) => { details.open = true; });
    return document.documentElement.scrollWidth - document.documentElement.clientWidth;
  });
  if (beyond > 0) found.push(`is ${beyond} pixels wider than the screen`);
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => axe.run(document));
  for (const { id, impact, nodes } of violations.filter((v) => SERIOUS.includes(v.impact))) {
    found.push(`axe, ${impact}: ${id} at ${nodes[0].html.slice(0, 120)}`);
  }
  await page.close();
  return found;
}

async function main() {
  const executablePath = process.env.NG_CHROMIUM || "/usr/bin/chromium";
  // CI runs as root, where Chromium has no sandbox; the pages are our own.
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  let bad = 0;
  for (const path of process.argv.slice(2)) {
    for (const scheme of ["light", "dark"]) {
      const found = await faults(browser, path, scheme);
      for (const fault of found) console.log(`FAILED ${path}, ${scheme}: ${fault}`);
      if (found.length === 0) console.log(`passed ${path}, ${scheme}`);
      bad += found.length;
    }
  }
  await browser.close();
  process.exitCode = bad > 0 ? 1 : 0;
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
