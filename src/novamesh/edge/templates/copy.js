for (const box of document.querySelectorAll('.sh')) {
  const code = box.querySelector('code'), button = document.createElement('button');
  const say = (text) => {
    button.textContent = document.getElementById('said').textContent = text;
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  };
  button.type = 'button';
  button.textContent = 'Copy';
  button.setAttribute('aria-label', 'Copy: ' + box.querySelector('pre').getAttribute('aria-label'));
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      say('Copied');
    } catch {
      getSelection().selectAllChildren(code);
      say(document.execCommand('copy') ? 'Copied' : 'Selected');
    }
  };
  box.append(button);
}
