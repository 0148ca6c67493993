// The microphone, as it is: what makes calls clearer changes how a voice sounds.

const CONSTRAINTS = {
  echoCancellation: false,
  noiseSuppression: false,
  autoGainControl: false,
};
const WHY = {
  NotAllowedError:
    "The microphone is not allowed to this page: allow it in the browser, " +
    "beside the address.",
  NotFoundError: "There is no microphone. A recording can be opened instead.",
  NotReadableError: "The microphone is used by another program.",
};

// Opens it; `hear` gets a Float32Array every 100 ms, `gone` is called once
// when it is unplugged. Gives the sample rate and how to close it. Throws an
// Error whose message is for the user.
export async function open(hear, gone) {
  if (!navigator.mediaDevices) {
    throw new Error(
      "Browsers give the microphone only to https pages and to localhost. " +
        "A recording can be opened instead.",
    );
  }
  let media;
  try {
    media = await navigator.mediaDevices.getUserMedia({ audio: CONSTRAINTS });
  } catch (error) {
    throw new Error(WHY[error.name] ?? `No microphone: ${error.message}`);
  }
  const context = new AudioContext();
  const close = () => {
    for (const track of media.getTracks()) track.stop();
    context.close();
  };
  try {
    await context.audioWorklet.addModule("worklet.js");
    await context.resume();
  } catch (error) {
    close();
    throw new Error(`The browser can not record: ${error.message}`);
  }
  const blocks = new AudioWorkletNode(context, "blocks");
  blocks.port.onmessage = (event) => hear(event.data);
  // What goes to the speakers is silence, but else nothing would be heard.
  context.createMediaStreamSource(media).connect(blocks);
  blocks.connect(context.destination);
  media.getAudioTracks()[0].addEventListener("ended", gone);
  return { rate: context.sampleRate, close };
}

// Root mean square in dB of full scale, -100 of silence.
export function levelOf(samples) {
  let power = 0;
  for (const sample of samples) power += sample * sample;
  return 10 * Math.log10(power / samples.length + 1e-10);
}
